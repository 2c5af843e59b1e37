// SPDX-License-Identifier: Apache-2.0

package gtid

import (
	"fmt"
	"testing"

	"github.com/go-mysql-org/go-mysql/mysql"
	"pgregory.net/rapid"
)

// TestAgainstGoMySQL compares with another implementation. It knows no tags in
// capitals, and for MariaDB no divergence at an equal number.
func TestAgainstGoMySQL(t *testing.T) {
	parse := func(t *rapid.T, flavor, text string) mysql.GTIDSet {
		set, err := mysql.ParseGTIDSet(flavor, text)
		if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		return set
	}
	t.Run("MySQL", rapid.MakeCheck(func(t *rapid.T) {
		a, b := drawModel(t, "a").set(), drawModel(t, "b").set()
		theirA, theirB := parse(t, mysql.MySQLFlavor, a.String()), parse(t, mysql.MySQLFlavor, b.String())
		if got, want := a.Contains(b), theirA.Contain(theirB); got != want {
			t.Fatalf("%q contains %q: got %t, want %t", a, b, got, want)
		}
		if got, want := a.Equal(b), theirA.Equal(theirB); got != want {
			t.Fatalf("%q equals %q: got %t, want %t", a, b, got, want)
		}
		if back, err := Parse(theirA.String()); err != nil || !back.Equal(a) {
			t.Fatalf("%q: read back as %q, %v", theirA, back, err)
		}
		if err := theirA.Update(b.String()); err != nil {
			t.Fatal(err)
		}
		if union := parse(t, mysql.MySQLFlavor, a.Union(b).String()); !union.Equal(theirA) {
			t.Fatalf("union: got %q, want %q", union, theirA)
		}
	}))
	t.Run("MariaDB", rapid.MakeCheck(func(t *rapid.T) {
		server := func(name string) string { return rapid.SampledFrom([]string{"1", "2"}).Draw(t, name) }
		seq := rapid.IntRange(1, 9)
		draw := func(name string) string {
			return fmt.Sprintf("0-%s-%d,1-%s-%d", server(name), seq.Draw(t, name), server(name), seq.Draw(t, name))
		}
		textA, textB := draw("a"), draw("b")
		a, b := parseMariaDB(textA), parseMariaDB(textB)
		theirA, theirB := parse(t, mysql.MariaDBFlavor, textA), parse(t, mysql.MariaDBFlavor, textB)
		if got, want := a.Equal(b), theirA.Equal(theirB); got != want {
			t.Fatalf("%q equals %q: got %t, want %t", a, b, got, want)
		}
		want := theirA.Contain(theirB)
		for i, d := range a.domains {
			e := b.domains[i]
			want = want && (d.tips[0].seq != e.tips[0].seq || d.tips[0].server == e.tips[0].server)
		}
		if got := a.Contains(b); got != want {
			t.Fatalf("%q contains %q: got %t, want %t", a, b, got, want)
		}
	}))
}
