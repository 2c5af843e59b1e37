// SPDX-License-Identifier: Apache-2.0

package gtid

import "testing"

// FuzzParse: no input panics, and what is accepted has a normal form that means
// the same and is its own normal form.
func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"", "A", "A:1", "A:1-10:tag1:1-3,\nB:4", " A : 5 - 1 : 7 ,, B:x:y:1", "{A}:1", "3e11fa4771ca11e19e33c80aa9429562:1",
		"A:1-9223372036854775806", "0-1-100", "0-1-90,0-2-100", "0-1-100,0-2-100,0-1-101", "0-*-1..50,0-1-51..60",
		" +0-\t1-0", "4294967295-4294967295-18446744073709551615,0-*-18446744073709551615..18446744073709551615",
	} {
		f.Add(expand(s))
	}
	for _, s := range mysqlMalformed {
		f.Add(expand(s))
	}
	for _, s := range mariadbMalformed {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for name, parse := range map[string]func(string) (Set, error){"Parse": Parse, "ParseMySQL": ParseMySQL, "ParseMariaDB": ParseMariaDB} {
			set, err := parse(s)
			if err != nil {
				if !set.IsEmpty() {
					t.Fatalf("%s: %v, and yet %q", name, err, set)
				}
				continue
			}
			text := set.String()
			again, err := parse(text)
			if err != nil {
				t.Fatalf("%s: normal form: %v", name, err)
			}
			if again.String() != text || again.Compare(set) != Equal || again.Count() != set.Count() {
				t.Fatalf("%s: %q has normal form %q, and that %q", name, s, text, again)
			}
			if rest := set.Subtract(again); !rest.IsEmpty() || set.Union(again).String() != text || !set.Intersect(again).Equal(set) {
				t.Fatalf("%s: %q differs from its normal form by %q", name, text, rest)
			}
			if holes := set.Holes(); !holes.Intersect(set).IsEmpty() {
				t.Fatalf("%s: %q holds its holes %q", name, text, holes)
			}
		}
	})
}
