// SPDX-License-Identifier: Apache-2.0

package configs

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Error is one thing wrong with a configuration file.
type Error struct {
	File    string // as given to Parse or Load
	Line    int    // from 1
	Column  int    // from 1, in characters
	Path    string // "cluster.nodes[1].priority"; "" for the file as a whole
	What    string // what is wrong
	Instead string // what to write or do instead
}

// Error returns "file:line:column: path: what; instead".
func (e Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s:%d:%d: ", e.File, e.Line, e.Column)
	if e.Path != "" {
		b.WriteString(e.Path + ": ")
	}
	b.WriteString(e.What)
	if e.Instead != "" {
		b.WriteString("; " + e.Instead)
	}
	return b.String()
}

// Errors is everything wrong with a configuration file, sorted by position.
type Errors []Error

// Error returns one line per error.
func (es Errors) Error() string {
	lines := make([]string, len(es))
	for i, e := range es {
		lines[i] = e.Error()
	}
	return strings.Join(lines, "\n")
}

// err returns es as an error, nil when there are none.
func (es Errors) err() error {
	if len(es) == 0 {
		return nil
	}
	return es
}

func (es Errors) sort() {
	slices.SortStableFunc(es, func(a, b Error) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
}

// position is a place in the file, both from 1.
type position struct{ line, column int }

// positionOf returns where path is written or, when it is not, where the
// nearest mapping stands that could hold it.
func positionOf(written map[string]position, path string) position {
	for path != "" {
		if p, ok := written[path]; ok {
			return p
		}
		path = path[:max(0, strings.LastIndexAny(path, ".["))]
	}
	return position{1, 1}
}

// errorAt returns an Error about path at its place in the file.
func (c *Config) errorAt(path, what, instead string) Error {
	p := positionOf(c.positions, path)
	return Error{
		File: c.File, Line: p.line, Column: p.column,
		Path: path, What: what, Instead: instead,
	}
}

// isWritten reports whether the file has the key.
func (c *Config) isWritten(path string) bool {
	_, ok := c.positions[path]
	return ok
}

// shown quotes what a file holds for a message, shortened.
func shown(s string) string {
	const limit = 40
	if r := []rune(s); len(r) > limit {
		s = string(r[:limit]) + "…"
	}
	return fmt.Sprintf("%q", s)
}
