// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"highwater/supervisor/control"
	"highwater/supervisor/web"
)

// invoke runs the program in this process.
func invoke(t *testing.T, stdin string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs strings.Builder
	code = run(t.Context(), &env{stdin: strings.NewReader(stdin), stdout: &out, stderr: &errs}, args)
	return code, out.String(), errs.String()
}

// configure writes a valid configuration for this host and returns its path.
func configure(t *testing.T, more ...string) (path, stateDir string) {
	t.Helper()
	dir := t.TempDir()
	state, err := os.MkdirTemp("", "hw") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(state) })
	for name, content := range map[string]string{
		"secret": strings.Repeat("0123456789abcdef", 3), "mysql": "planted-mysql-password", "repl": "planted-repl-password",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	text := fmt.Sprintf(`
node: db1
cluster:
  name: test
  secret_file: %[1]s/secret
  nodes:
    - {name: db1, address: 127.0.0.1, priority: 120}
    - {name: db2, address: 127.0.0.2, priority: 110}
election: {authority: vrrp, interface: lo, vrid: 51}
vip: {addresses: [192.0.2.100/32]}
durability: {mode: best-effort}
mysql:
  address: %[1]s/absent.sock
  user: highwater
  password_file: %[1]s/mysql
  replication: {user: "repl-{node}", password_file: %[1]s/repl}
state_dir: %[2]s
%[3]s`, dir, state, strings.Join(more, "\n"))
	path = filepath.Join(dir, "highwater.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path, state
}

func TestUsage(t *testing.T) {
	for _, tt := range []struct {
		args []string
		code int
		out  string // in stdout or stderr
	}{
		{nil, exitUsage, "Usage: highwater COMMAND"},
		{[]string{"help"}, exitDone, "failover"},
		{[]string{"version"}, exitDone, "highwater devel"},
		{[]string{"statsu"}, exitUsage, `unknown command "statsu"`},
		{[]string{"status", "now"}, exitUsage, `unexpected argument "now"`},
		{[]string{"status", "--help"}, exitDone, "redraw each second"},
		{[]string{"status", "--no-such-flag"}, exitUsage, "no-such-flag"},
		{[]string{"run", "--config", "/nonexistent/highwater.yaml"}, exitUsage, "/nonexistent/highwater.yaml"},
		{[]string{"rejoin"}, exitUsage, "--rebuild"}, // before anything is read
		{[]string{"pause", "--for", "1d"}, exitUsage, "for"},
		{[]string{"pause", "--for", "20ms"}, exitUsage, "shorter than a second"},
		{[]string{"member"}, exitUsage, "member list"},
		{[]string{"member", "add"}, exitUsage, "which node"},
		{[]string{"member", "add", "db3", "db4"}, exitUsage, "db4"},
		{[]string{"recover"}, exitUsage, "--force-new-cluster"},
		{[]string{"recover", "--help"}, exitDone, "only voter"},
		{[]string{"member", "promote", "db3"}, exitUsage, "member list"},
		{[]string{"member", "--help"}, exitDone, "member list"},
	} {
		code, stdout, stderr := invoke(t, "", tt.args...)
		if code != tt.code || !strings.Contains(stdout+stderr, tt.out) {
			t.Errorf("%q: exit code %d, want %d; output %q%q, want %q in it", tt.args, code, tt.code, stdout, stderr, tt.out)
		}
	}
}

// What this release cannot promise it refuses to run, where the file says it.
func TestRunRefusesWhatItCannotPromise(t *testing.T) {
	path, _ := configure(t)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lossless := strings.Replace(string(text), "best-effort", "lossless", 1)
	if err := os.WriteFile(path, []byte(lossless), 0o600); err != nil {
		t.Fatal(err)
	}
	code, _, stderr := invoke(t, "", "run", "--config", path)
	if code != exitUsage || !strings.Contains(stderr, "lossless with a quorum only") || !strings.Contains(stderr, path+":11:") {
		t.Errorf("exit code %d, stderr %q", code, stderr)
	}
	code, stdout, _ := invoke(t, "", "check", "--config", path)
	if code != exitFailed || !regexp.MustCompile(`blocker +configuration .*lossless with a quorum only`).MatchString(stdout) {
		t.Errorf("check: exit code %d, %s", code, stdout)
	}
}

// withQuorum makes the file of configure lossless, with a third node for the quorum.
func withQuorum(t *testing.T, path string) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lossless := strings.NewReplacer(
		"best-effort", "lossless", "authority: vrrp", "authority: quorum",
		"    - {name: db2,", "    - {name: w1, address: 127.0.0.3, witness: true}\n    - {name: db2,",
	).Replace(string(text))
	if err := os.WriteFile(path, []byte(lossless), 0o600); err != nil {
		t.Fatal(err)
	}
}

// With a quorum it runs, as far as the port that is taken here.
func TestRunTakesLosslessWithAQuorum(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	path, _ := configure(t, fmt.Sprintf("web: {listen: %q}", l.Addr()))
	withQuorum(t, path)
	code, _, stderr := invoke(t, "", "run", "--config", path)
	if code != exitFailed || !strings.Contains(stderr, l.Addr().String()) {
		t.Errorf("exit code %d, stderr %q", code, stderr)
	}
}

func TestUnreachable(t *testing.T) {
	path, _ := configure(t)
	for _, args := range [][]string{
		{"status"},
		{"stop"},
		{"failover", "--yes"},
		{"rejoin", "--rebuild"},
		{"pause"},
		{"resume"},
		{"history"},
		{"member", "list"},
		{"upgrade"},
	} {
		code, _, stderr := invoke(t, "", append(args, "--config", path)...)
		if code != exitUnreachable || !strings.Contains(stderr, "does not run here") {
			t.Errorf("%q: exit code %d, stderr %q", args, code, stderr)
		}
	}
}

func TestFailoverAsksFirst(t *testing.T) {
	path, _ := configure(t)
	for _, typed := range []string{"", "yes\n", "FAILOVER\n"} {
		code, stdout, stderr := invoke(t, typed, "failover", "--config", path)
		if code != exitRefused || !strings.Contains(stdout, "will be lost") || !strings.Contains(stderr, "not confirmed") {
			t.Errorf("typed %q: exit code %d, %q%q", typed, code, stdout, stderr)
		}
	}
	if code, _, _ := invoke(t, "failover\n", "failover", "--config", path); code != exitUnreachable {
		t.Errorf("confirmed: exit code %d, want %d: nothing runs here", code, exitUnreachable)
	}
}

// The passwords of the files are printed only when they are asked for.
func TestGrants(t *testing.T) {
	path, _ := configure(t)
	for _, server := range []string{"8.0.36", "9.7.4", "10.11.6-MariaDB"} {
		code, stdout, stderr := invoke(t, "", "grants", "--config", path, "--server", server)
		if code != exitDone || !strings.Contains(stdout, "'repl-db2'@'%'") || !strings.Contains(stdout, "'highwater'@'localhost'") {
			t.Errorf("%s: exit code %d, %q%q", server, code, stdout, stderr)
		}
		if strings.Contains(stdout, "planted") {
			t.Errorf("%s: a password is printed: %q", server, stdout)
		}
		if regexp.MustCompile(`GRANT [^;]*CREATE USER`).MatchString(stdout) {
			t.Errorf("%s: best-effort locks no account: %q", server, stdout)
		}
	}
	path, _ = configure(t)
	withQuorum(t, path)
	for _, server := range []string{"8.0.36", "9.7.4", "10.11.6-MariaDB"} {
		_, stdout, _ := invoke(t, "", "grants", "--config", path, "--server", server)
		for _, want := range []string{
			`GRANT [^;]*\bCREATE USER\b[^;]* ON \*\.\* TO 'highwater'@'localhost'`,
			`CREATE USER IF NOT EXISTS 'repl-db1'@'%'`, `GRANT REPLICATION SLAVE\b[^;]* ON \*\.\* TO 'repl-db1'@'%'`,
			`CREATE USER IF NOT EXISTS 'repl-db2'@'%'`, `GRANT REPLICATION SLAVE\b[^;]* ON \*\.\* TO 'repl-db2'@'%'`,
		} {
			if !regexp.MustCompile(want).MatchString(stdout) {
				t.Errorf("%s: lossless: nothing like %q in\n%s", server, want, stdout)
			}
		}
		if strings.Contains(stdout, "repl-w1") {
			t.Errorf("%s: an account for the witness:\n%s", server, stdout)
		}
	}
	path, _ = configure(t)
	code, stdout, _ := invoke(t, "", "grants", "--config", path, "--server", "9.7.4", "--with-passwords")
	if code != exitDone || !strings.Contains(stdout, "planted-mysql-password") || !strings.Contains(stdout, "planted-repl-password") {
		t.Errorf("with passwords: exit code %d, %q", code, stdout)
	}
	if code, _, stderr := invoke(t, "", "grants", "--config", path, "--server", "5.7.44"); code != exitRefused {
		t.Errorf("5.7: exit code %d, %q", code, stderr)
	}
	if code, _, stderr := invoke(t, "", "grants", "--config", path); code != exitUnreachable || strings.Contains(stderr, "planted") {
		t.Errorf("no server: exit code %d, %q", code, stderr)
	}
}

// stand is a supervisor that knows one status and refuses nearly every order.
type stand struct {
	authority string
	moves     []web.Move
	orders    []string
}

func (s *stand) Status() any {
	return web.Status{
		Cluster: "test", Node: "db1", Summary: "Healthy: db1 is primary.", Level: web.LevelOK, Authority: s.authority,
		History: s.moves, Members: []web.Member{{Name: "db1", ID: 7}},
	}
}

func (s *stand) Command(_ context.Context, _ control.Caller, c control.Command, progress func(control.Event)) control.Result {
	s.orders = append(s.orders, c.Name)
	for _, name := range slices.Sorted(maps.Keys(c.Args)) {
		s.orders = append(s.orders, name+"="+c.Args[name])
	}
	progress(control.Event{Text: "looking at " + c.Name})
	if c.Name == "stop" {
		return control.Result{Text: "stop done"}
	}
	return control.Result{Code: control.CodeRefused, Text: c.Name + " refused: not_taking_part"}
}

func TestOrders(t *testing.T) {
	path, state := configure(t)
	s := &stand{authority: "quorum"}
	server, err := control.Listen(control.Config{Dir: state, Group: -1}, s)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- server.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		_ = server.Close()
	}()
	for _, tt := range []struct {
		args []string
		code int
		out  string
	}{
		{[]string{"status"}, exitDone, "Healthy: db1 is primary."},
		{[]string{"status", "--json"}, exitDone, `"node":"db1"`},
		{[]string{"stop"}, exitDone, "looking at stop\nstop done"},
		{[]string{"failover", "--yes"}, exitRefused, "failover refused: not_taking_part"},
		{[]string{"rejoin", "--rebuild"}, exitRefused, "rebuild refused"},
		{[]string{"upgrade"}, exitRefused, "upgrade refused"},
		{[]string{"pause", "--for", "2h", "--why", "new switch"}, exitRefused, "pause refused"},
		{[]string{"resume"}, exitRefused, "resume refused"},
		{[]string{"history"}, exitDone, "has not moved"},
		{[]string{"history", "--json"}, exitDone, "[]\n"},
		{[]string{"member", "list"}, exitDone, "db1   7   server"},
		{[]string{"recover", "--force-new-cluster"}, exitRefused, "recover refused"},
		{[]string{"member", "add", "db3"}, exitRefused, "member-add refused"},
		{[]string{"member", "remove", "db3"}, exitRefused, "member-remove refused"},
	} {
		code, stdout, stderr := invoke(t, "", append(tt.args, "--config", path)...)
		if code != tt.code || !strings.Contains(stdout+stderr, tt.out) {
			t.Errorf("%q: exit code %d, want %d; %q%q", tt.args, code, tt.code, stdout, stderr)
		}
	}
	if want := []string{"stop", "failover", "rebuild", "upgrade", "pause", "for=2h0m0s", "why=new switch", "resume", "member-add", "node=db3", "member-remove", "node=db3"}; strings.Join(s.orders, " ") != strings.Join(want, " ") {
		t.Errorf("orders %q, want %q", s.orders, want)
	}
	s.moves = []web.Move{{Term: 4, From: "db1", To: "db2", Kind: "failover", Reason: "server_exited"}}
	code, stdout, _ := invoke(t, "", "history", "--config", path)
	if code != exitDone || !strings.Contains(stdout, "4     db1   db2  failover  server_exited  -") {
		t.Errorf("history: exit code %d, %q", code, stdout)
	}
	s.authority = "vrrp"
	for _, args := range [][]string{{"history"}, {"member", "list"}} {
		if code, stdout, stderr := invoke(t, "", append(args, "--config", path)...); code != exitRefused || !strings.Contains(stderr, "authority vrrp") {
			t.Errorf("%q without a record: exit code %d, %q%q", args, code, stdout, stderr)
		}
	}
}

// Check names what is missing on a host without server, peer and interface.
func TestCheckNamesWhatIsMissing(t *testing.T) {
	path, _ := configure(t)
	code, stdout, stderr := invoke(t, "", "check", "--config", path)
	if code != exitFailed {
		t.Errorf("exit code %d, %q", code, stderr)
	}
	for _, want := range []string{"absent.sock", "reach db2", "log in to the server of db2 (127.0.0.2:3306) as repl-db1", "blocker"} {
		if !strings.Contains(stdout, want) {
			t.Errorf("no %q in:\n%s", want, stdout)
		}
	}
	if strings.Contains(stdout+stderr, "planted") {
		t.Errorf("a password is printed:\n%s%s", stdout, stderr)
	}
}

// A port that is taken is an error with its address in it, and leaves nothing behind.
func TestRunNamesAPortThatIsTaken(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() { _ = http.Serve(l, http.NotFoundHandler()) }() // ends with l
	path, state := configure(t, fmt.Sprintf("web: {listen: %q}", l.Addr()))
	code, _, stderr := invoke(t, "", "run", "--config", path)
	if code != exitFailed || !strings.Contains(stderr, l.Addr().String()) {
		t.Errorf("exit code %d, stderr %q", code, stderr)
	}
	if left, err := filepath.Glob(filepath.Join(state, "*.sock")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
