// SPDX-License-Identifier: Apache-2.0

package gtid

import (
	"cmp"
	"math"
	"slices"
)

// interval is the closed range of transaction numbers first..last, with
// 1 <= first <= last.
type interval struct{ first, last uint64 }

// intervals are ascending, and between any two there is at least one number.
type intervals []interval

// normal brings ivs into that order, in place. Servers print sorted text, so
// the sort is usually skipped.
func normal(ivs []interval) intervals {
	byFirst := func(a, b interval) int { return cmp.Compare(a.first, b.first) }
	if !slices.IsSortedFunc(ivs, byFirst) {
		slices.SortFunc(ivs, byFirst)
	}
	out := ivs[:0]
	for _, iv := range ivs {
		out = appendInterval(out, iv)
	}
	return out
}

// appendInterval appends iv, which begins no earlier than the last of out, or
// lets it grow the last one.
func appendInterval(out intervals, iv interval) intervals {
	// first-1 rather than last+1: MariaDB's numbers reach 2^64-1.
	if n := len(out); n > 0 && iv.first-1 <= out[n-1].last {
		out[n-1].last = max(out[n-1].last, iv.last)
		return out
	}
	return append(out, iv)
}

func (a intervals) union(b intervals) intervals {
	if len(a) == 0 {
		return b
	}
	if len(b) == 0 {
		return a
	}
	out := make(intervals, 0, len(a)+len(b))
	for len(a) > 0 && len(b) > 0 {
		if a[0].first <= b[0].first {
			out, a = appendInterval(out, a[0]), a[1:]
		} else {
			out, b = appendInterval(out, b[0]), b[1:]
		}
	}
	for _, iv := range a {
		out = appendInterval(out, iv)
	}
	for _, iv := range b {
		out = appendInterval(out, iv)
	}
	return out
}

func (a intervals) intersect(b intervals) intervals {
	var out intervals
	for len(a) > 0 && len(b) > 0 {
		iv := interval{max(a[0].first, b[0].first), min(a[0].last, b[0].last)}
		if iv.first <= iv.last {
			out = append(out, iv)
		}
		if a[0].last < b[0].last {
			a = a[1:]
		} else {
			b = b[1:]
		}
	}
	return out
}

func (a intervals) subtract(b intervals) intervals {
	if len(b) == 0 {
		return a
	}
	var out intervals
	for _, iv := range a {
		for len(b) > 0 && b[0].last < iv.first {
			b = b[1:]
		}
		rest, left := iv, true
		for _, cut := range b {
			if cut.first > rest.last {
				break
			}
			if cut.first > rest.first {
				out = append(out, interval{rest.first, cut.first - 1})
			}
			if cut.last >= rest.last {
				left = false
				break
			}
			rest.first = cut.last + 1
		}
		if left {
			out = append(out, rest)
		}
	}
	return out
}

// contains reports whether every number of b is in a.
func (a intervals) contains(b intervals) bool {
	for _, iv := range b {
		for len(a) > 0 && a[0].last < iv.first {
			a = a[1:]
		}
		if len(a) == 0 || iv.first < a[0].first || a[0].last < iv.last {
			return false
		}
	}
	return true
}

// has returns the interval that holds n.
func (a intervals) has(n uint64) (interval, bool) {
	i, found := slices.BinarySearchFunc(a, n, func(iv interval, n uint64) int {
		if n < iv.first {
			return 1
		}
		if n > iv.last {
			return -1
		}
		return 0
	})
	if !found {
		return interval{}, false
	}
	return a[i], true
}

// gaps are the ranges missing between the first and the last number.
func (a intervals) gaps() intervals {
	var out intervals
	for i := 1; i < len(a); i++ {
		out = append(out, interval{a[i-1].last + 1, a[i].first - 1})
	}
	return out
}

// addCount adds how many numbers a holds to n, at most the largest uint64.
func (a intervals) addCount(n uint64) uint64 {
	for _, iv := range a {
		size := iv.last - iv.first + 1
		if n > math.MaxUint64-size {
			return math.MaxUint64
		}
		n += size
	}
	return n
}
