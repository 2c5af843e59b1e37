// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"slices"
	"strconv"
)

// latency is a row for each system.
func (r *report) latency() table {
	t := table{title: "Commit latency with supervisors and without, the middle pair; ratio of all pairs (95 % interval)"}
	t.rows = append(t.rows, []string{
		"with", "commits", "pairs", "disturbed", "median without", "with", "ratio of medians", "p99 without", "with", "ratio of p99s",
	})
	for _, s := range systems {
		pairs := slices.DeleteFunc(slices.Clone(r.Latency), func(p pair) bool { return p.System != s.name })
		if len(pairs) == 0 {
			continue
		}
		disturbed := 0
		for _, p := range pairs {
			disturbed += len(p.Disturbed)
		}
		t.rows = append(t.rows, []string{
			s.title, s.commits, strconv.Itoa(len(pairs)), strconv.Itoa(disturbed),
			middle(pairs, func(p pair) float64 { return p.Without.Median }),
			middle(pairs, func(p pair) float64 { return p.With.Median }),
			ratioOf(each(pairs, pair.ratio)).String(),
			middle(pairs, func(p pair) float64 { return p.Without.P99 }),
			middle(pairs, func(p pair) float64 { return p.With.P99 }),
			ratioOf(each(pairs, pair.ratioP99)).String(),
		})
	}
	return t
}

// pairs is a row for each pair.
func (r *report) pairs() table {
	t := table{title: "Every pair"}
	t.rows = append(t.rows, []string{
		"with", "pair", "first", "median without", "with", "ratio", "p99 without", "with", "ratio", "commits without", "with",
	})
	for _, p := range r.Latency {
		s, _ := find(systems, func(s system) bool { return s.name == p.System })
		first := "without"
		if p.WithFirst {
			first = "with"
		}
		t.rows = append(t.rows, []string{
			s.title, strconv.Itoa(p.Run), first,
			milliseconds(p.Without.Median), milliseconds(p.With.Median), fmt.Sprintf("%.3f", p.ratio()),
			milliseconds(p.Without.P99), milliseconds(p.With.P99), fmt.Sprintf("%.3f", p.ratioP99()),
			strconv.Itoa(p.Without.Commits), strconv.Itoa(p.With.Commits),
		})
	}
	return t
}

// each is a figure of every pair, middle the median of them.
func each(pairs []pair, of func(pair) float64) []float64 {
	var values []float64
	for _, p := range pairs {
		values = append(values, of(p))
	}
	return values
}

func middle(pairs []pair, of func(pair) float64) string {
	return milliseconds(median(slices.Sorted(slices.Values(each(pairs, of)))))
}

// String is the mean, and the bounds in parentheses.
func (i interval) String() string { return fmt.Sprintf("%.3f (%.3f to %.3f)", i.Mean, i.Low, i.High) }

func milliseconds(s float64) string { return fmt.Sprintf("%.3f ms", 1000*s) }
