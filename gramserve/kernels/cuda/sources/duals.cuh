// Dual activations: S' = k(S, q, q') and the slope kd of the tangent kernel, T' = T kd.
//
// One struct for each kind of activation, all with
//   NUMBERS: how many numbers of the layer it reads;
//   take<SLOPE>(s, x, y, numbers): S, the roots of both variances and the layer's numbers to the
//     value and, if asked for, the slope (else 0).
// They agree with gramserve/kernels/cpu/duals.py: the same formulas and polynomials; 0 for the
// cosine where a variance is 0; cosines beyond 1 by rounding count as 1; what is not finite stays
// so, in the value at least. gramserve.kernels.cuda.activations names the struct of a layer.
#ifndef GRAMSERVE_DUALS_CUH
#define GRAMSERVE_DUALS_CUH

#include "angular.cuh"
#include "bells.cuh"
#include "patches.cuh"
#include "polynomials.cuh"
#include "waves.cuh"

#endif
