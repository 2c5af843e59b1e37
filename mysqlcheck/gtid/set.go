// SPDX-License-Identifier: Apache-2.0

package gtid

import (
	"errors"
	"slices"
	"strings"
)

// Set is a set of transactions: a GTID set of MySQL or a position of MariaDB.
// The zero value is the empty set, of either flavor. A Set is never changed
// once made; compare two with Equal or Compare, not with ==.
type Set struct {
	sources []source // MySQL: ascending, each once, none empty
	domains []domain // MariaDB: ascending, each once, none empty
}

// Relation is how one set stands to another.
type Relation uint8

// Relations of s to t in s.Compare(t).
const (
	// Equal: each holds all of the other.
	Equal Relation = iota
	// Ahead: s holds all of t and more.
	Ahead
	// Behind: t holds all of s and more.
	Behind
	// Diverged: each holds something that the other lacks.
	Diverged
)

// String returns the relation in lower case.
func (r Relation) String() string {
	switch r {
	case Equal:
		return "equal"
	case Ahead:
		return "ahead"
	case Behind:
		return "behind"
	case Diverged:
		return "diverged"
	}
	return "invalid"
}

// Parse reads a set of either flavor and decides which by its form: MariaDB's
// elements have three numbers and no colon. Empty text is the empty set.
func Parse(s string) (Set, error) {
	first := strings.TrimLeft(s, space+",")
	if i := strings.IndexByte(first, ','); i >= 0 {
		first = first[:i]
	}
	if first == "" || strings.Contains(first, ":") || strings.Count(first, "-") > 2 {
		return ParseMySQL(s)
	}
	return ParseMariaDB(s)
}

// String returns the normal form, which Parse reads back as an equal set, on
// one line. MySQL: as gtid_executed is printed, without the line feed that
// follows each comma there. MariaDB: by domain, then by number.
func (s Set) String() string { return string(s.append(nil)) }

func (s Set) append(b []byte) []byte {
	b = appendSources(b, s.sources)
	for i, d := range s.domains {
		if i > 0 || len(s.sources) > 0 {
			b = append(b, ',')
		}
		b = d.append(b)
	}
	return b
}

// MarshalText returns the text of String. It is an error for a union of two
// flavors, which has none that could be read back.
func (s Set) MarshalText() ([]byte, error) {
	if len(s.sources) > 0 && len(s.domains) > 0 {
		return nil, errors.New("marshal gtid set: holds both MySQL and MariaDB transactions")
	}
	return s.append(nil), nil
}

// UnmarshalText replaces s by what Parse reads.
func (s *Set) UnmarshalText(text []byte) error {
	t, err := Parse(string(text))
	if err != nil {
		return err
	}
	*s = t
	return nil
}

// IsEmpty reports whether s holds no transaction.
func (s Set) IsEmpty() bool { return len(s.sources) == 0 && len(s.domains) == 0 }

// Count returns the number of transactions in s, at most the largest uint64.
// MariaDB: of sequence numbers, an estimate (see the package comment).
func (s Set) Count() uint64 {
	var n uint64
	for _, src := range s.sources {
		n = src.intervals.addCount(n)
	}
	for _, d := range s.domains {
		n = d.intervals.addCount(n)
	}
	return n
}

// Union returns all that s or t holds.
func (s Set) Union(t Set) Set {
	return Set{
		sources: combine(s.sources, t.sources, source.compare, source.union),
		domains: combine(s.domains, t.domains, domain.compare, domain.union),
	}
}

// Subtract returns what s holds and t does not: GTID_SUBTRACT(s, t).
func (s Set) Subtract(t Set) Set {
	return Set{
		sources: combine(s.sources, t.sources, source.compare, source.subtract),
		domains: combine(s.domains, t.domains, domain.compare, domain.subtract),
	}
}

// Intersect returns what both s and t hold.
func (s Set) Intersect(t Set) Set {
	return Set{
		sources: combine(s.sources, t.sources, source.compare, source.intersect),
		domains: combine(s.domains, t.domains, domain.compare, domain.intersect),
	}
}

// Contains reports whether s holds all of t: GTID_SUBSET(t, s).
func (s Set) Contains(t Set) bool {
	return containsAll(s.sources, t.sources, source.compare, source.contains) &&
		containsAll(s.domains, t.domains, domain.compare, domain.contains)
}

// Equal reports whether s and t hold the same transactions. MariaDB: a position
// equals the binary log state that it is the end of.
func (s Set) Equal(t Set) bool { return s.Contains(t) && t.Contains(s) }

// Compare returns how s stands to t.
func (s Set) Compare(t Set) Relation {
	switch sHasT, tHasS := s.Contains(t), t.Contains(s); {
	case sHasT && tHasS:
		return Equal
	case sHasT:
		return Ahead
	case tHasS:
		return Behind
	default:
		return Diverged
	}
}

// BySource returns the transactions of s that the server with this server_uuid
// began, whatever their tag. It is empty for MariaDB, whose elements have no
// UUID, and for text that is none.
func (s Set) BySource(serverUUID string) Set {
	id, err := parseUUID(serverUUID)
	if err != nil {
		return Set{}
	}
	low, _ := slices.BinarySearchFunc(s.sources, source{uuid: id}, source.compare)
	high := low
	for high < len(s.sources) && s.sources[high].uuid == id {
		high++
	}
	if low == high {
		return Set{}
	}
	return Set{sources: s.sources[low:high:high]}
}

// Holes returns the transactions missing between the first and the last of
// each source and tag, or of each domain. A replica that commits in the order of
// its source has none; replica_preserve_commit_order=OFF leaves some while
// it applies, and after a crash.
func (s Set) Holes() Set {
	var holes Set
	for _, src := range s.sources {
		if gaps := src.intervals.gaps(); len(gaps) > 0 {
			holes.sources = append(holes.sources, source{src.uuid, src.tag, gaps})
		}
	}
	for _, d := range s.domains {
		if gaps := d.intervals.gaps(); len(gaps) > 0 {
			holes.domains = append(holes.domains, domain{id: d.id, intervals: gaps})
		}
	}
	return holes
}

// part is the transactions of a set that share a key: a source or a domain. Its
// zero value is empty, with any key.
type part interface {
	isEmpty() bool
}

// combine merges two ascending lists of parts: op gets the two of one key,
// the zero value where a list has none, and its result is kept unless empty.
func combine[P part](a, b []P, compare func(P, P) int, op func(P, P) P) []P {
	var out []P
	keep := func(p P) {
		if !p.isEmpty() {
			out = append(out, p)
		}
	}
	var none P
	for len(a) > 0 || len(b) > 0 {
		switch c := compareHeads(a, b, compare); {
		case c < 0:
			keep(op(a[0], none))
			a = a[1:]
		case c > 0:
			keep(op(none, b[0]))
			b = b[1:]
		default:
			keep(op(a[0], b[0]))
			a, b = a[1:], b[1:]
		}
	}
	return out
}

// containsAll reports whether each part of b has one in a that contains it.
func containsAll[P part](a, b []P, compare func(P, P) int, contains func(P, P) bool) bool {
	for len(b) > 0 {
		switch c := compareHeads(a, b, compare); {
		case c < 0:
			a = a[1:]
		case c > 0:
			return false
		default:
			if !contains(a[0], b[0]) {
				return false
			}
			a, b = a[1:], b[1:]
		}
	}
	return true
}

// compareHeads orders the first elements of a and b; an ended list comes last.
func compareHeads[P part](a, b []P, compare func(P, P) int) int {
	switch {
	case len(a) == 0:
		return 1
	case len(b) == 0:
		return -1
	}
	return compare(a[0], b[0])
}
