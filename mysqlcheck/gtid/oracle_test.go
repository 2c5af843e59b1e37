// SPDX-License-Identifier: Apache-2.0

package gtid

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"pgregory.net/rapid"

	"highwater/test/lab"
)

// Error numbers of the servers for text that they cannot read.
const (
	errMalformedGTIDSet = 1772 // MySQL: ER_MALFORMED_GTID_SET_SPECIFICATION
	errGTIDList         = 1941 // MariaDB: ER_INCORRECT_GTID_STATE
)

// oracle is one connection to a live server.
type oracle struct {
	ctx  context.Context
	conn *sql.Conn
}

func newOracle(t *testing.T, flavor lab.Flavor) oracle {
	lab.Require(t, string(flavor))
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	server, err := lab.StartServer(ctx, lab.ServerConfig{Flavor: flavor, Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	conn, err := server.DB().Conn(ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return oracle{ctx, conn}
}

// row reads one row of n columns.
func (o oracle) row(query string, n int) ([]string, error) {
	values, into := make([]string, n), make([]any, n)
	for i := range values {
		into[i] = &values[i]
	}
	err := o.conn.QueryRowContext(o.ctx, query).Scan(into...)
	return values, err
}

// refuses tells a refusal of the text, by this error number, from an accepted
// one.
func refuses(err error, number uint16) (bool, error) {
	var refused *mysql.MySQLError
	if errors.As(err, &refused) && refused.Number == number {
		return true, nil
	}
	return false, err
}

// literal writes s so that no byte of it needs an escape.
func literal(s string) string { return fmt.Sprintf("CONVERT(x'%x' USING latin1)", s) }

func drawTokens(t *rapid.T, tokens []string) string {
	return strings.Join(rapid.SliceOfN(rapid.SampledFrom(tokens), 0, 12).Draw(t, "text"), "")
}

// TestMySQLOracle holds parser, normal form and algebra to a live MySQL.
func TestMySQLOracle(t *testing.T) {
	o := newOracle(t, lab.MySQL)

	// same reports whether the server and we agree on text.
	same := func(text string) error {
		ours, err := ParseMySQL(text)
		normal, serverErr := o.row("SELECT GTID_SUBTRACT("+literal(text)+", '')", 1)
		refused, serverErr := refuses(serverErr, errMalformedGTIDSet)
		switch {
		case serverErr != nil:
			return serverErr
		case refused != (err != nil):
			return fmt.Errorf("%q: the server refuses: %t, our error: %v", text, refused, err)
		case refused:
			return nil
		}
		if want := strings.ReplaceAll(normal[0], "\n", ""); ours.String() != want {
			return fmt.Errorf("%q: got %q, want %q", text, ours, want)
		}
		return nil
	}
	t.Run("malformed", func(t *testing.T) {
		for _, text := range mysqlMalformed {
			text = expand(text)
			if _, err := ParseMySQL(text); err == nil {
				t.Errorf("%q: accepted", text)
			}
			if err := same(text); err != nil {
				t.Error(err)
			}
		}
	})
	t.Run("tokens", rapid.MakeCheck(func(t *rapid.T) {
		tokens := []string{
			":", ":", ":", "-", ",", ",", " ", "\n", uuidA, uuidB, uuidA + ":1", uuidB + ":x:", "{" + uuidA + "}",
			strings.ReplaceAll(uuidB, "-", ""), "0", "1", "3", "7", "012", "9223372036854775806", "9223372036854775807",
			"tag", "T_9", "_", strings.Repeat("a", 32), ":1-5", ":8-6", "\t", "+", ";",
		}
		for range 10 {
			if err := same(drawTokens(t, tokens)); err != nil {
				t.Fatal(err)
			}
		}
	}))
	t.Run("algebra", rapid.MakeCheck(func(t *rapid.T) {
		type pair struct{ a, b Set }
		var pairs []pair
		var columns []string
		for range 10 {
			a, b := drawModel(t, "a"), drawModel(t, "b")
			pairs = append(pairs, pair{a.set(), b.set()})
			textA, textB := literal(a.drawText(t)), literal(b.drawText(t))
			columns = append(columns,
				fmt.Sprintf("GTID_SUBTRACT(%s, '')", textA),
				fmt.Sprintf("GTID_SUBTRACT(CONCAT(%s, ',', %s), '')", textA, textB),
				fmt.Sprintf("GTID_SUBTRACT(%s, %s)", textA, textB),
				fmt.Sprintf("GTID_SUBTRACT(%s, GTID_SUBTRACT(%[1]s, %s))", textA, textB),
				fmt.Sprintf("GTID_SUBSET(%s, %s)", textB, textA),
				fmt.Sprintf("GTID_SUBSET(%s, %s)", textA, textB),
			)
		}
		answers, err := o.row("SELECT "+strings.Join(columns, ", "), len(columns))
		if err != nil {
			t.Fatal(err)
		}
		for i, p := range pairs {
			want := answers[6*i : 6*i+6]
			for j, got := range []string{
				p.a.String(), p.a.Union(p.b).String(), p.a.Subtract(p.b).String(), p.a.Intersect(p.b).String(),
				digit(p.a.Contains(p.b)), digit(p.b.Contains(p.a)),
			} {
				if want := strings.ReplaceAll(want[j], "\n", ""); got != want {
					t.Fatalf("%s: got %q, want %q", columns[6*i+j], got, want)
				}
			}
		}
	}))
}

func digit(b bool) string {
	if b {
		return "1"
	}
	return "0"
}

// TestMariaDBOracle holds the parser, positions and states to a live MariaDB.
func TestMariaDBOracle(t *testing.T) {
	o := newOracle(t, lab.MariaDB)
	exec := func(t testing.TB, statement string) {
		t.Helper()
		if _, err := o.conn.ExecContext(o.ctx, statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}

	// same reports whether MASTER_GTID_WAIT, which reads a list of GTIDs and
	// with time-out 0 only looks, and we agree on text.
	same := func(text string) error {
		_, err := ParseMariaDB(text)
		_, serverErr := o.row("SELECT MASTER_GTID_WAIT("+literal(text)+", 0)", 1)
		refused, serverErr := refuses(serverErr, errGTIDList)
		if serverErr != nil {
			return serverErr
		}
		if refused != (err != nil) {
			return fmt.Errorf("%q: the server refuses: %t, our error: %v", text, refused, err)
		}
		return nil
	}
	t.Run("malformed", func(t *testing.T) {
		for _, text := range mariadbMalformed {
			if _, err := ParseMariaDB(text); err == nil {
				t.Errorf("%q: accepted", text)
			}
			if err := same(text); err != nil {
				t.Error(err)
			}
		}
	})
	t.Run("tokens", rapid.MakeCheck(func(t *rapid.T) {
		tokens := []string{
			"-", "-", "-", ",", ",", " ", "\t", "\n", "+", "0", "1", "07", "0-1-5", "1-2-3", "4294967295", "4294967296",
			"18446744073709551615", "18446744073709551616", "x", ";",
		}
		for range 10 {
			if err := same(drawTokens(t, tokens)); err != nil {
				t.Fatal(err)
			}
		}
	}))
	t.Run("differences", func(t *testing.T) {
		for _, text := range []string{"0-1-51..100", "0-*-1..50"} {
			if _, err := o.row("SELECT MASTER_GTID_WAIT('"+text+"', 0)", 1); err == nil {
				t.Errorf("%q: the server accepts it as a position", text)
			}
		}
	})

	// The server's own comparison looks at numbers alone.
	t.Run("positions", rapid.MakeCheck(func(t *rapid.T) {
		draw := func(name string) (domains []domain, text string) {
			var elements []string
			for id := range uint32(3) {
				d := domain{id: id, tips: []tip{{rapid.Uint32Range(1, 3).Draw(t, name), rapid.Uint64Range(1, 9).Draw(t, name)}}}
				if rapid.IntRange(0, 3).Draw(t, name) > 0 {
					domains = append(domains, d)
					elements = append(elements, fmt.Sprintf("%d-%d-%d", id, d.tips[0].server, d.tips[0].seq))
				}
			}
			return domains, strings.Join(elements, ",")
		}
		reachedDomains, reachedText := draw("reached")
		if _, err := o.conn.ExecContext(o.ctx, "SET GLOBAL gtid_slave_pos = '"+reachedText+"'"); err != nil {
			t.Fatal(err)
		}
		var wantedDomains [][]domain
		var wantedTexts, columns []string
		for range 20 {
			domains, text := draw("wanted")
			wantedDomains, wantedTexts = append(wantedDomains, domains), append(wantedTexts, text)
			columns = append(columns, "MASTER_GTID_WAIT('"+text+"', 0) = 0")
		}
		answers, err := o.row("SELECT @@gtid_slave_pos, "+strings.Join(columns, ", "), 1+len(columns))
		if err != nil {
			t.Fatal(err)
		}
		reached := parseMariaDB(answers[0])
		if reached.String() != answers[0] {
			t.Fatalf("got %q, want %q", reached, answers[0])
		}
		for i, text := range wantedTexts {
			equalNumber := false // by another server: diverged
			for _, d := range wantedDomains[i] {
				for _, r := range reachedDomains {
					equalNumber = equalNumber || d.id == r.id && d.tips[0].seq == r.tips[0].seq && d.tips[0].server != r.tips[0].server
				}
			}
			if got, want := reached.Contains(parseMariaDB(text)), answers[1+i] == "1" && !equalNumber; got != want {
				t.Fatalf("%q contains %q: got %t, want %t", reached, text, got, want)
			}
		}
	}))

	// A real binary log written under several server ids.
	t.Run("states", func(t *testing.T) {
		exec(t, "SET GLOBAL gtid_slave_pos = ''")
		exec(t, "CREATE DATABASE oracle")
		exec(t, "CREATE TABLE oracle.t (n INT) ENGINE=InnoDB")
		random := rand.New(rand.NewPCG(1, 2))
		for range 5 {
			exec(t, "RESET MASTER")
			var h history
			for range 1 + random.IntN(12) {
				h = append(h, 1+random.Uint32N(3))
				exec(t, fmt.Sprintf("SET SESSION server_id = %d", h[len(h)-1]))
				exec(t, "INSERT INTO oracle.t VALUES (1)")
			}
			answers, err := o.row("SELECT @@gtid_binlog_state, @@gtid_binlog_pos", 2)
			if err != nil {
				t.Fatal(err)
			}
			if got, want := parseMariaDB(answers[0]).String(), h.state().String(); got != want {
				t.Errorf("state of %v: got %q from %q, want %q", h, got, answers[0], want)
			}
			if got, want := answers[1], h.position().String(); got != want {
				t.Errorf("position of %v: got %q, want %q", h, got, want)
			}
		}
	})
}
