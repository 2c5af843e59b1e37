// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"fmt"
	"strings"

	"highwater/mysqlcheck/gtid"
	"highwater/test/sim/mysqld"
)

// position says how many transactions of each origin a server has.
type position = mysqld.Set

// gap says which transactions somebody has and another lacks: of each origin those above from, up to to.
type gap struct{ from, to position }

func (g gap) empty() bool { return g.from.Contains(g.to) }

// set returns them as GTIDs.
func (g gap) set() gtid.Set {
	var parts []string
	for i, n := range g.to {
		if n > g.from[i] {
			parts = append(parts, fmt.Sprintf("%s:%d-%d", uuidOf(i), g.from[i]+1, n))
		}
	}
	s, err := gtid.ParseMySQL(strings.Join(parts, ","))
	if err != nil {
		panic(err) // we wrote it ourselves
	}
	return s
}

func uuidOf(i int) string { return fmt.Sprintf("00000000-0000-0000-0000-0000000000%02x", i+1) }

// manySets is how many sets a world remembers.
const manySets = 4096

// set returns a position as a server would say it.
func (w *World) set(p position) gtid.Set {
	if s, ok := w.sets[p]; ok {
		return s
	}
	if len(w.sets) >= manySets {
		clear(w.sets)
	}
	s := gap{to: p}.set()
	w.sets[p] = s
	return s
}

// position is the inverse of set, for sets that leave out nothing before their last.
func (w *World) position(s gtid.Set) position {
	var p position
	for i := range p {
		if own := s.BySource(uuidOf(i)); !own.IsEmpty() {
			p[i] = own.Count()
		}
	}
	return p
}
