"""`python -m gramserve` is `gramserve`."""

from gramserve.cli import main

if __name__ == "__main__":
    main()
