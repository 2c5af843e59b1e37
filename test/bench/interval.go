// SPDX-License-Identifier: Apache-2.0

package main

import "math"

// confidence is how sure an interval is.
const confidence = 0.95

// An interval is a mean and the bounds between which it is with confidence.
type interval struct{ Mean, Low, High float64 }

// ratioOf is the geometric mean of ratios, which are above 0, and its interval by Student's t on their logarithms:
// a pair that was slow by half and one that was fast by half even out. Of fewer than two ratios the interval is
// without bounds.
func ratioOf(ratios []float64) interval {
	n := float64(len(ratios))
	mean := 0.0
	for _, r := range ratios {
		mean += math.Log(r) / n
	}
	squares := 0.0
	for _, r := range ratios {
		squares += (math.Log(r) - mean) * (math.Log(r) - mean)
	}
	half := math.Inf(1)
	if n > 1 {
		half = studentT(n-1) * math.Sqrt(squares/(n-1)/n)
	}
	return interval{math.Exp(mean), math.Exp(mean - half), math.Exp(mean + half)}
}

// studentT is the t that a value of Student's distribution with these degrees of freedom, 1 or more, stays within on
// either side with confidence: its density is summed up until that much is reached.
func studentT(freedom float64) float64 {
	above, _ := math.Lgamma((freedom + 1) / 2)
	below, _ := math.Lgamma(freedom / 2)
	scale := math.Exp(above-below) / math.Sqrt(freedom*math.Pi)
	density := func(t float64) float64 { return scale * math.Pow(1+t*t/freedom, -(freedom+1)/2) }
	const step = 1e-4
	t := 0.0
	for sum := 0.0; sum < confidence/2; t += step {
		sum += density(t+step/2) * step
	}
	return t
}
