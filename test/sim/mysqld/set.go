// SPDX-License-Identifier: Apache-2.0

package mysqld

// Origins is how many servers may write in one simulation, counting one that was rebuilt once more.
const Origins = 16

// Set says how many transactions of each origin somebody has. An origin's transactions replicate in order, so a count
// says which.
type Set [Origins]uint64

// Union is what either of the two has.
func (s Set) Union(t Set) Set {
	for i := range s {
		s[i] = max(s[i], t[i])
	}
	return s
}

// Intersect is what both have.
func (s Set) Intersect(t Set) Set {
	for i := range s {
		s[i] = min(s[i], t[i])
	}
	return s
}

// Contains reports whether s has all of t.
func (s Set) Contains(t Set) bool {
	for i := range s {
		if s[i] < t[i] {
			return false
		}
	}
	return true
}

// Has reports whether s has one transaction.
func (s Set) Has(origin int, number uint64) bool { return number > 0 && s[origin] >= number }

// Minus counts, by origin, what s has and t has not. It is no set of a server: it says how many, not which.
func (s Set) Minus(t Set) Set {
	for i := range s {
		s[i] -= min(s[i], t[i])
	}
	return s
}

// Count is the number of transactions.
func (s Set) Count() (n uint64) {
	for _, count := range s {
		n += count
	}
	return n
}

// IsZero reports whether it is empty.
func (s Set) IsZero() bool { return s == Set{} }
