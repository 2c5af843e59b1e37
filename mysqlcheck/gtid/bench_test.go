// SPDX-License-Identifier: Apache-2.0

package gtid

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// manyIntervals returns n intervals of one source with a hole after each.
func manyIntervals(n, offset int) string {
	elements := []string{uuidA}
	for i := range n {
		first := 10*i + offset
		elements = append(elements, fmt.Sprintf("%d-%d", first, first+4))
	}
	return strings.Join(elements, ":")
}

// manySources returns n sources with one interval each.
func manySources(n int) string {
	elements := make([]string, n)
	for i := range elements {
		elements[i] = fmt.Sprintf("%08x-71ca-11e1-9e33-c80aa9429562:1-%d", uint32(i)*2654435761, i+1)
	}
	return strings.Join(elements, ",")
}

func BenchmarkParse(b *testing.B) {
	reversed := strings.Split(manyIntervals(100_000, 1), ":")
	slices.Reverse(reversed[1:])
	for _, bb := range []struct{ name, text string }{
		{"typical", uuidA + ":1-3141592653,\n" + uuidB + ":1-27:tag:1-18"},
		{"intervals-1e5", manyIntervals(100_000, 1)},
		{"intervals-1e5-reversed", strings.Join(reversed, ":")},
		{"sources-1e4", manySources(10_000)},
		{"mariadb", "0-1-3141592653,1-2-27"},
	} {
		b.Run(bb.name, func(b *testing.B) {
			b.SetBytes(int64(len(bb.text)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Parse(bb.text); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkAlgebra(b *testing.B) {
	for _, bb := range []struct{ name, s, t string }{
		{"typical", uuidA + ":1-3141592653," + uuidB + ":1-27", uuidA + ":1-3141592600," + uuidB + ":1-27"},
		{"intervals-1e5", manyIntervals(100_000, 1), manyIntervals(100_000, 3)},
		{"sources-1e4", manySources(10_000), manySources(9_999)},
		{"mariadb", "0-1-3141592653,1-2-27", "0-2-3141592600,1-2-27"},
	} {
		s, t := mustParse(b, bb.s), mustParse(b, bb.t)
		for name, op := range map[string]func(){
			"Union":     func() { s.Union(t) },
			"Subtract":  func() { s.Subtract(t) },
			"Intersect": func() { s.Intersect(t) },
			"Compare":   func() { s.Compare(t) },
			"Contains":  func() { s.Contains(s) },
			"String":    func() { _ = s.String() },
		} {
			b.Run(bb.name+"/"+name, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					op()
				}
			})
		}
	}
}
