// SPDX-License-Identifier: Apache-2.0

package main

import (
	"math"
	"testing"
)

// The values of the printed tables.
func TestStudentT(t *testing.T) {
	for freedom, want := range map[float64]float64{1: 12.706, 2: 4.303, 9: 2.262, 19: 2.093, 30: 2.042, 1000: 1.962} {
		if got := studentT(freedom); math.Abs(got-want) > 0.001 {
			t.Errorf("%v degrees of freedom: got %.4f, want %v", freedom, got, want)
		}
	}
}

func TestRatioOf(t *testing.T) {
	near := func(a, b float64) bool { return math.Abs(a-b) < 1e-3 }
	// Logarithms -ln 2, 0, ln 2: mean 0, deviation ln 2, so the bounds are ±4.303·ln 2/√3.
	got := ratioOf([]float64{0.5, 1, 2})
	if bound := math.Exp(4.3027 * math.Ln2 / math.Sqrt(3)); !near(got.Mean, 1) || !near(got.High/bound, 1) || !near(got.Low*bound, 1) {
		t.Errorf("got %+v, want 1 and a factor of %.3f to either side", got, bound)
	}
	if got := ratioOf([]float64{1.25, 1.25}); !near(got.Low, 1.25) || !near(got.Mean, 1.25) || !near(got.High, 1.25) {
		t.Errorf("two equal ones: got %+v", got)
	}
	if got := ratioOf([]float64{1.1}); !near(got.Mean, 1.1) || got.Low != 0 || !math.IsInf(got.High, 1) {
		t.Errorf("a single one: got %+v", got)
	}
}
