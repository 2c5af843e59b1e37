// SPDX-License-Identifier: Apache-2.0

package mysqlcheck

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"testing"
	"time"

	"highwater/mysqlcheck/gtid"
	"highwater/test/lab"
)

// forever is how long a test waits for what must come.
const forever = 30 * time.Second

// pair is a primary and its replica, real ones.
type pair struct {
	flavor           lab.Flavor
	primary, replica *lab.Server
}

// flavors runs a test on each flavour that is set up.
func flavors(t *testing.T, f func(t *testing.T, flavor lab.Flavor)) {
	if testing.Short() {
		t.Skip("starts real servers")
	}
	for _, flavor := range []lab.Flavor{lab.MySQL, lab.MariaDB} {
		t.Run(string(flavor), func(t *testing.T) {
			lab.Require(t, string(flavor))
			f(t, flavor)
		})
	}
}

func startServer(t testing.TB, c lab.ServerConfig) *lab.Server {
	t.Helper()
	c.Dir = t.TempDir()
	s, err := lab.StartServer(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// startPair starts both with accounts that have no more privileges than Grants
// gives them.
func startPair(t testing.TB, flavor lab.Flavor) *pair {
	t.Helper()
	p := &pair{
		flavor:  flavor,
		primary: startServer(t, lab.ServerConfig{Flavor: flavor}),
		replica: startServer(t, lab.ServerConfig{Flavor: flavor, ReadOnly: true}),
	}
	p.follow(t)
	p.exec(t, p.primary, grantsFor(t, p.primary, "localhost")...)
	p.exec(t, p.primary, "CREATE DATABASE app", "CREATE TABLE app.t (id INT PRIMARY KEY AUTO_INCREMENT, v LONGBLOB)")
	p.sync(t)
	return p
}

// grantsFor are the accounts, ours as seen from host.
func grantsFor(t testing.TB, s *lab.Server, host string) []string {
	t.Helper()
	v, err := ServerVersion(t.Context(), s.DB())
	if err != nil {
		t.Fatal(err)
	}
	return Grants(v, Accounts{
		Supervisor:  Account{User: "highwater", Host: host, Password: "h'w"},
		Replication: []Account{{User: "repl-db2", Host: "%", Password: "repl"}},
	})
}

func (p *pair) mariadb() bool { return p.flavor.IsMariaDB() }

// follow makes the replica replicate from the primary.
func (p *pair) follow(t testing.TB) {
	t.Helper()
	port := p.primary.Config().Port
	if p.mariadb() {
		p.exec(t, p.replica, fmt.Sprintf(`CHANGE MASTER TO MASTER_HOST = '127.0.0.1', MASTER_PORT = %d, MASTER_USER = 'lab',
			MASTER_PASSWORD = 'lab', MASTER_USE_GTID = slave_pos, MASTER_HEARTBEAT_PERIOD = 0.5, MASTER_CONNECT_RETRY = 1`, port), "START SLAVE")
		return
	}
	p.exec(t, p.replica, fmt.Sprintf(`CHANGE REPLICATION SOURCE TO SOURCE_HOST = '127.0.0.1', SOURCE_PORT = %d, SOURCE_USER = 'lab',
		SOURCE_PASSWORD = 'lab', SOURCE_AUTO_POSITION = 1, GET_SOURCE_PUBLIC_KEY = 1, SOURCE_HEARTBEAT_PERIOD = 0.5,
		SOURCE_CONNECT_RETRY = 1`, port), "START REPLICA")
}

// sql picks the statement of the flavour.
func (p *pair) sql(mysql, mariadb string) string {
	if p.mariadb() {
		return mariadb
	}
	return mysql
}

func (p *pair) exec(t testing.TB, s *lab.Server, statements ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), forever)
	defer cancel()
	if err := s.Exec(ctx, statements...); err != nil {
		t.Fatal(err)
	}
}

// executed is what a server says it has executed.
func executed(t testing.TB, s *lab.Server) gtid.Set {
	t.Helper()
	text, err := s.ExecutedGTIDs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	set, err := gtid.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// rows are the rows of a query by column name.
func rows(t testing.TB, s *lab.Server, query string) []map[string]string {
	t.Helper()
	r, err := s.DB().QueryContext(t.Context(), query)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	names, err := r.Columns()
	if err != nil {
		t.Fatal(err)
	}
	var all []map[string]string
	for r.Next() {
		values := make([]sql.NullString, len(names))
		targets := make([]any, len(names))
		for i := range values {
			targets[i] = &values[i]
		}
		if err := r.Scan(targets...); err != nil {
			t.Fatal(err)
		}
		row := make(map[string]string)
		for i, name := range names {
			row[name] = values[i].String
		}
		all = append(all, row)
	}
	if err := r.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}

// sync waits until the replica has all.
func (p *pair) sync(t testing.TB) {
	t.Helper()
	want := executed(t, p.primary)
	eventually(t, func() string {
		if got := executed(t, p.replica); !got.Contains(want) {
			return fmt.Sprintf("replica has %s of %s", got, want)
		}
		return ""
	})
}

// eventually waits until f has no complaint.
func eventually(t testing.TB, f func() string) {
	t.Helper()
	deadline := time.Now().Add(forever)
	for {
		complaint := f()
		if complaint == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(complaint)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// connTo is our least-privilege account over the socket.
func connTo(s *lab.Server) ConnConfig {
	return ConnConfig{Address: s.Socket(), User: "highwater", Password: func() string { return "h'w" }}
}

func newProbe(t testing.TB, s *lab.Server, change func(*ProbeConfig)) *Probe {
	t.Helper()
	c := ProbeConfig{
		Conn: connTo(s), Node: "db1",
		SettingsInterval: 50 * time.Millisecond, CountersInterval: 50 * time.Millisecond,
	}
	if change != nil {
		change(&c)
	}
	p := NewProbe(c)
	t.Cleanup(p.Close)
	return p
}

// assessor assesses samples in a row, as the supervisor does.
type assessor struct {
	t      testing.TB
	probe  *Probe
	want   Expectation
	policy Policy
	last   Sample
	v      Verdict
}

func (a *assessor) step() Verdict {
	a.last = a.probe.Sample(context.WithoutCancel(a.t.Context()), a.want)
	a.v = Assess(a.last, a.v, a.policy)
	return a.v
}

// until steps until the condition holds.
func (a *assessor) until(what string, condition func(Verdict) bool) Verdict {
	a.t.Helper()
	eventually(a.t, func() string {
		if condition(a.step()) {
			return ""
		}
		return fmt.Sprintf("want %s, have reasons %v, warnings %v, %s, failure %+v, replication %+v, commit %+v",
			what, a.v.Reasons, a.v.Warnings, a.v.Health, a.last.Failure, a.last.Replication, a.last.Commit)
	})
	return a.v
}

func (a *assessor) untilReason(r Reason) Verdict {
	a.t.Helper()
	return a.until(string(r), func(v Verdict) bool { return hasReason(v.Reasons, r) })
}

func (a *assessor) untilWarning(r Reason) Verdict {
	a.t.Helper()
	return a.until(string(r), func(v Verdict) bool { return hasReason(v.Warnings, r) })
}

func (a *assessor) untilEligible() Verdict {
	a.t.Helper()
	return a.until("eligible", func(v Verdict) bool { return v.Eligible })
}

func hasReason(list []Reason, r Reason) bool {
	for _, x := range list {
		if x == r {
			return true
		}
	}
	return false
}

// onReplica assesses the replica of the pair, which is to follow the primary.
func (p *pair) onReplica(t testing.TB, change func(*ProbeConfig)) *assessor {
	return &assessor{t: t, probe: newProbe(t, p.replica, change), want: Expectation{
		Role: RoleReplica, SourceHosts: []string{"127.0.0.1"}, SourcePort: uint16(p.primary.Config().Port),
	}}
}

func (p *pair) onPrimary(t testing.TB, change func(*ProbeConfig)) *assessor {
	return &assessor{t: t, probe: newProbe(t, p.primary, change), want: Expectation{Role: RolePrimary}}
}

func words(r []Reason) string {
	s := make([]string, len(r))
	for i := range r {
		s[i] = string(r[i])
	}
	return strings.Join(s, " ")
}
