// SPDX-License-Identifier: Apache-2.0

package configs

import (
	"slices"
	"strings"
)

// suggest says what may have been meant by an unknown key at path, and returns
// that key if it is one of m.
func (m mapping) suggest(root mapping, path, name string) (instead, meant string) {
	if meant = nearest(name, m.names()); meant != "" {
		return "did you mean " + meant + "?", meant
	}
	var elsewhere []string
	root.each("", func(p string, _ key) {
		if strings.HasSuffix(p, "."+name) {
			elsewhere = append(elsewhere, p)
		}
	})
	if slices.Contains(root.names(), name) {
		elsewhere = append(elsewhere, name+" at the top level")
	}
	if len(elsewhere) > 0 {
		return "did you mean " + strings.Join(elsewhere, " or ") + "?", ""
	}
	return "write one of: " + strings.Join(m.names(), ", "), ""
}

// nearest returns the name that a typing error may have turned into word, or
// "" when none is near.
func nearest(word string, names []string) string {
	best, least := "", len(word)+1
	for _, name := range names {
		near := max(1, min(len(word), len(name))/3)
		if n := distance(strings.ToLower(word), name); n <= near && n < least {
			best, least = name, n
		}
	}
	return best
}

// distance returns how many characters must be inserted, removed, replaced or
// swapped with their neighbour to turn a into b (optimal string alignment).
func distance(a, b string) int {
	const far = 100
	if len(a) > far || len(b) > far {
		return far
	}
	var before, last []int // two rows above
	for j := range len(b) + 1 {
		last = append(last, j)
	}
	for i := 1; i <= len(a); i++ {
		row := []int{i}
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			n := min(row[j-1]+1, last[j]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				n = min(n, before[j-2]+1)
			}
			row = append(row, n)
		}
		before, last = last, row
	}
	return last[len(b)]
}
