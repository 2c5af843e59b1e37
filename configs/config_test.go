// SPDX-License-Identifier: Apache-2.0

package configs

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// load parses a file of testdata/good, changed by replacing old and new pairs.
func load(t *testing.T, name string, replacements ...string) *Config {
	t.Helper()
	text := string(readFile(t, filepath.Join("testdata", "good", name+".yaml")))
	for i := 0; i < len(replacements); i += 2 {
		if !strings.Contains(text, replacements[i]) {
			t.Fatalf("%s has no %q to replace", name, replacements[i])
		}
		text = strings.Replace(text, replacements[i], replacements[i+1], 1)
	}
	c, err := Parse(name+".yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestEveryFieldIsSet writes every key with a value that is not its default.
func TestEveryFieldIsSet(t *testing.T) {
	no := false
	tls := func(s string) *TLS { return &TLS{CAFile: s + "/ca", CertFile: s + "/cert", KeyFile: s + "/key"} }
	want := &Config{
		File: "all", Node: "db2",
		Cluster: Cluster{
			Name: "orders", SecretEnv: "S",
			Nodes: []Node{
				{Name: "db1", Address: netip.MustParseAddrPort("10.0.0.11:7000"), Priority: 1, MySQL: "db1.internal:3307"},
				{Name: "db2", Address: netip.MustParseAddrPort("[fd00::12]:7475"), Priority: 254},
				{Name: "db3", Address: netip.MustParseAddrPort("10.0.0.13:7475"), Priority: 100, NoFailover: true},
				{Name: "w1", Address: netip.MustParseAddrPort("10.0.0.14:7475"), Priority: 100, Witness: true},
				{Name: "w2", Address: netip.MustParseAddrPort("10.0.0.15:7475"), Priority: 100, Witness: true},
			},
		},
		Election: Election{
			Authority: AuthorityQuorum, Interface: "eth1", VRID: 7, Version: 3, AdvertInterval: 40950 * time.Millisecond,
			Preempt: true, DownTimerAdverts: 4, Checksum: ChecksumRFC9568, Unicast: true,
			AcceptFrom: []netip.Addr{netip.MustParseAddr("10.0.0.11"), netip.MustParseAddr("fe80::1")}, StartupDelay: 10 * time.Second, HoldOff: 90 * time.Second,
		},
		VIP: VIP{
			Addresses: []netip.Prefix{netip.MustParsePrefix("10.0.0.100/32"), netip.MustParsePrefix("fd00::100/128")},
			Interface: "eth2", Lease: 5 * time.Second, Linger: 2 * time.Second,
			GARP:  GARP{Repeat: 3, Interval: 200 * time.Millisecond, Delay: 2 * time.Second, Refresh: 0},
			Label: "eth2:db", SessionFence: SessionFenceNFT,
		},
		Durability: Durability{Mode: Lossless, WhenAlone: WhenAloneContinue, Rejoin: RejoinHold},
		MySQL: MySQL{
			Address: "127.0.0.1:3308", User: "hw", PasswordEnv: "P", Port: 3309, Heartbeat: "hw.beat", PidFile: "/run/mysqld.pid",
			TLS:         &TLS{CAFile: "/m/ca", CertFile: "/m/cert", KeyFile: "/m/key", ServerName: "db"},
			Replication: Replication{User: "r-{node}", PasswordEnv: "R", TLS: tls("/r")},
		},
		Check:    Check{Interval: 100 * time.Millisecond, Timeout: 2 * time.Second, Rise: 3, Fall: 4, MaxLag: time.Minute, CommitTimeout: 3 * time.Second},
		Promote:  Promote{Timeout: 90 * time.Second, GatherTimeout: time.Second, Hooks: Hooks{Before: [][]string{{"/b", "1"}, {"/c"}}, After: [][]string{{"/a"}}, Timeout: 4 * time.Second}, Command: []string{"/p", "--x"}},
		Fencing:  Fencing{KillServer: &no, Timeout: 6 * time.Second},
		Web:      Web{Listen: "127.0.0.1:80", ConfigFile: "/w"},
		Log:      Log{Level: "error", Format: "json"},
		StateDir: "/s",
	}
	got, err := Parse("all", []byte(`
node: db2
cluster:
  name: orders
  secret_env: S
  nodes:
    - {name: db1, address: "10.0.0.11:7000", priority: 1, mysql: "db1.internal:3307"}
    - {name: db2, address: fd00::12, priority: 254}
    - {name: db3, address: 10.0.0.13, nofailover: true}
    - {name: w1, address: 10.0.0.14, witness: true}
    - {name: w2, address: 10.0.0.15, witness: true}
election: {authority: quorum, interface: eth1, vrid: 7, version: 3, advert_interval: 40.95s, preempt: true, down_timer_adverts: 4, checksum: rfc9568, unicast: true, accept_from: [10.0.0.11, "fe80::1"], startup_delay: 10s, hold_off: 90s}
vip:
  addresses: [10.0.0.100/32, "fd00::100/128"]
  interface: eth2
  lease: 5s
  linger: 2000ms
  garp: {repeat: 3, interval: 200ms, delay: 2s, refresh: 0s}
  label: eth2:db
  session_fence: nft
durability: {mode: lossless, when_alone: continue, rejoin: hold}
mysql:
  address: 127.0.0.1:3308
  user: hw
  password_env: P
  tls: {ca_file: /m/ca, cert_file: /m/cert, key_file: /m/key, server_name: db}
  port: 3309
  heartbeat: hw.beat
  pid_file: /run/mysqld.pid
  replication: {user: "r-{node}", password_env: R, tls: {ca_file: /r/ca, cert_file: /r/cert, key_file: /r/key}}
check: {interval: 100ms, timeout: 2s, rise: 3, fall: 4, max_lag: 1m, commit_timeout: 3s}
promote: {timeout: 1m30s, gather_timeout: 1s, wait_for_lease: false, hooks: {before: [[/b, "1"], [/c]], after: [[/a]], timeout: 4s}, command: [/p, --x]}
fencing: {kill_server: false, timeout: 6s}
web: {listen: "127.0.0.1:80", config_file: /w}
log: {level: error, format: json}
state_dir: /s
`))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, ignorePositions, compareAddresses); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	Default().keys().each("", func(path string, _ key) {
		switch path {
		case "cluster.secret_file", "cluster.cert_file", "cluster.key_file", "cluster.ca_file", "mysql.password_file", "mysql.replication.password_file":
			return // another key excludes it; TestSecretFilesAreSet
		}
		for i := range got.Cluster.Nodes {
			if got.isWritten(strings.ReplaceAll(path, "[]", fmt.Sprintf("[%d]", i))) {
				return
			}
		}
		t.Errorf("this test does not write %s", path)
	})
}

func TestSecretFilesAreSet(t *testing.T) {
	c := load(t, "minimal", "mysql:\n", "mysql:\n  password_file: /p\n")
	if c.Cluster.SecretFile != "/etc/highwater/secret" || c.MySQL.PasswordFile != "/p" || c.MySQL.Replication.PasswordFile != "/etc/highwater/repl.password" {
		t.Errorf("files are %q, %q and %q", c.Cluster.SecretFile, c.MySQL.PasswordFile, c.MySQL.Replication.PasswordFile)
	}
	c = load(t, "certificates-and-long-names")
	if got, want := c.Cluster.CertFile+c.Cluster.KeyFile+c.Cluster.CAFile, "/etc/highwater/node.pem/etc/highwater/node.key/etc/highwater/ca.pem"; got != want {
		t.Errorf("certificate files are %q, want %q", got, want)
	}
}

func TestDependentDefaults(t *testing.T) {
	minimal := load(t, "minimal")
	if minimal.VIP.Interface != "eth0" {
		t.Errorf("vip.interface is %q, want that of election", minimal.VIP.Interface)
	}
	want := []netip.Addr{netip.MustParseAddr("10.0.0.11"), netip.MustParseAddr("10.0.0.12"), netip.MustParseAddr("10.0.0.13")}
	if diff := cmp.Diff(want, minimal.Election.AcceptFrom, compareAddresses); diff != "" {
		t.Errorf("accept_from (-want +got):\n%s", diff)
	}
	if minimal.MySQL.Port != 3306 {
		t.Errorf("mysql.port is %d with a socket, want 3306", minimal.MySQL.Port)
	}
	if got := load(t, "ipv6").MySQL.Port; got != 3307 {
		t.Errorf("mysql.port is %d, want that of mysql.address", got)
	}
	if got := load(t, "version2").Election.AdvertInterval; got != time.Second {
		t.Errorf("version 2 has an interval of %v, want 1s", got)
	}
	rejoin := map[string]string{Lossless: RejoinAuto, BestEffort: RejoinHold}
	for _, tt := range []struct {
		file, authority, whenAlone string
		kill                       bool
	}{
		{"minimal", AuthorityQuorum, WhenAloneStall, true},
		{"pair-and-witness", AuthorityQuorum, WhenAloneContinue, true},
		{"pair-vrrp-lossless", AuthorityVRRP, WhenAloneStall, false},
		{"quorum-lossless", AuthorityQuorum, WhenAloneContinue, true}, // when_alone: continue
		{"three-vrrp", AuthorityVRRP, WhenAloneStall, false},
		{"pair-vrrp-best-effort", AuthorityVRRP, "", false},
		{"hooks-and-command", AuthorityQuorum, WhenAloneStall, false}, // kill_server: false
	} {
		c := load(t, tt.file)
		if c.Authority() != tt.authority || c.Durability.WhenAlone != tt.whenAlone || c.Durability.Rejoin != rejoin[c.Durability.Mode] || *c.Fencing.KillServer != tt.kill {
			t.Errorf("%s: authority %s, when_alone %q, rejoin %q, kill_server %v; want %s, %q, %v", tt.file,
				c.Authority(), c.Durability.WhenAlone, c.Durability.Rejoin, *c.Fencing.KillServer, tt.authority, tt.whenAlone, tt.kill)
		}
	}
}

func TestSelf(t *testing.T) {
	for _, tt := range []struct {
		name, node, host string
		names            [3]string
		want             string // "" for an error
	}{
		{"same", "", "db2", [3]string{"db1", "db2", "db3"}, "db2"},
		{"case", "", "DB2", [3]string{"db1", "db2", "db3"}, "db2"},
		{"host has domain", "", "db2.example.com", [3]string{"db1", "db2", "db3"}, "db2"},
		{"node has domain", "", "db2", [3]string{"db1.a", "db2.a", "db3.a"}, "db2.a"},
		{"exact before short", "", "db2.a", [3]string{"db2", "db2.a", "db2.b"}, "db2.a"},
		{"other domain", "", "db2.b", [3]string{"db1.a", "db2.a", "db3.a"}, ""},
		{"two could be meant", "", "db2", [3]string{"db2.a", "db2.b", "db3"}, ""},
		{"prefix only", "", "db", [3]string{"db1", "db2", "db3"}, ""},
		{"written", "db3", "db2", [3]string{"db1", "db2", "db3"}, "db3"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var edits []string
			for i, name := range tt.names {
				edits = append(edits, fmt.Sprintf("{name: db%d,", i+1), "{name: "+name+",")
			}
			if tt.node != "" {
				edits = append(edits, "cluster:", "node: "+tt.node+"\ncluster:")
			}
			n, err := load(t, "minimal", edits...).Self(tt.host)
			switch {
			case tt.want == "" && err == nil:
				t.Errorf("Self found %s, want an error", n.Name)
			case tt.want == "":
				if !strings.Contains(err.Error(), "minimal.yaml:4:3: cluster.nodes: no node is named like this host") {
					t.Errorf("error is %q", err)
				}
			case err != nil:
				t.Error(err)
			case n.Name != tt.want:
				t.Errorf("Self is %s, want %s", n.Name, tt.want)
			}
		})
	}
}

func TestReplicationAddressAndUser(t *testing.T) {
	c := load(t, "ipv6")
	for i, want := range []string{"fd00::11 3307", "fd00::2:12 3307"} {
		host, port := c.ReplicationAddress(&c.Cluster.Nodes[i])
		if got := fmt.Sprint(host, " ", port); got != want {
			t.Errorf("node %d replicates from %s, want %s", i, got, want)
		}
	}
	if got := (Replication{User: "repl-{node}"}).UserFor("db1"); got != "repl-db1" {
		t.Errorf("user is %q, want repl-db1", got)
	}
}

func TestRunnableNow(t *testing.T) {
	for _, tt := range []struct{ file, want string }{
		{"pair-vrrp-best-effort", ""},
		{"pair-equal-priorities", ""}, // auto with two nodes
		{"minimal", ""},               // lossless and a quorum, neither of them written
		{"pair-and-witness", ""},
		{"quorum-lossless", ""},
		{"pair-vrrp-lossless", "pair-vrrp-lossless.yaml:14:20: durability.mode: this release keeps commits lossless with a quorum only, and the authority is vrrp; add a third node (a witness will do) for a quorum, or durability: {mode: best-effort} if you accept that a failover can lose the last commits"},
		{"three-vrrp", "three-vrrp.yaml:1:1: durability.mode: not written, it means lossless, which this release keeps with a quorum only, and the authority is vrrp; write election: {authority: quorum}, or durability: {mode: best-effort} if you accept that a failover can lose the last commits"},
	} {
		got := ""
		if err := load(t, tt.file).RunnableNow(); err != nil {
			got = err.Error()
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.file, diff)
		}
	}
}

func TestCheckInterface(t *testing.T) {
	prefixes := func(list ...string) (ps []netip.Prefix) {
		for _, s := range list {
			ps = append(ps, netip.MustParsePrefix(s))
		}
		return ps
	}
	for _, tt := range []struct {
		name           string
		vips           string
		addresses      []netip.Prefix
		errs, warnings string
	}{
		{"fits", "[10.0.0.100/32]", prefixes("10.0.0.11/24"), "", ""},
		{"held already", "[10.0.0.100/32]", prefixes("10.0.0.11/24", "10.0.0.100/32"), "", ""},
		{
			"no IPv6", `[10.0.0.100/32, "fd00::100/128"]`, prefixes("10.0.0.11/24"),
			"minimal.yaml:12:30: vip.addresses[1]: fd00::100/128 is IPv6, and interface eth0 has no IPv6 address; give the interface one, or write another vip.interface or VIP", "",
		},
		{
			"only the VIP itself", "[10.0.0.100/32]", prefixes("10.0.0.100/32", "fe80::1/64"),
			"minimal.yaml:12:15: vip.addresses[0]: 10.0.0.100/32 is IPv4, and interface eth0 has no IPv4 address; give the interface one, or write another vip.interface or VIP", "",
		},
		{
			"other subnet", "[10.1.0.100/32]", prefixes("10.0.0.11/24", "10.2.0.11/24"), "",
			"minimal.yaml:12:15: vip.addresses[0]: 10.1.0.100/32 is in no subnet of interface eth0; check the address; hosts of that network find it only by a route",
		},
		{"second subnet", "[10.2.0.100/32]", prefixes("10.0.0.11/24", "10.2.0.11/24"), "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			errs, warnings := load(t, "minimal", "[10.0.0.100/32]", tt.vips).CheckInterface(tt.addresses)
			if diff := cmp.Diff(tt.errs, errs.Error()); diff != "" {
				t.Errorf("errors (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.warnings, warnings.Error()); diff != "" {
				t.Errorf("warnings (-want +got):\n%s", diff)
			}
		})
	}
}

func TestLoadNamesTheFile(t *testing.T) {
	if _, err := Load(filepath.Join(t.TempDir(), "none.yaml")); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "none.yaml") {
		t.Errorf("Load of a missing file: %v", err)
	}
	path := filepath.Join(t.TempDir(), "large.yaml")
	if err := os.WriteFile(path, []byte(strings.Repeat("#\n", MaxSize/2+1)), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Load(path)
	var errs Errors
	if !errors.As(err, &errs) || !strings.HasPrefix(err.Error(), path+":1:1: the file is larger than") {
		t.Errorf("Load of a large file: %v", err)
	}
}

// TestBrokenLine: the place of a syntax error is the line where it is, also far
// down a file, where only the parser's own word is had.
func TestBrokenLine(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		line       int
	}{
		{"first", "a: b: c\n", 1},
		{"after a good list over lines", "a: [\n 1,\n 2]\nb: @\n", 4},
		{"no line feed at the end", "a: 1\nb: @", 2},
		{"within a list", "a: [\n 1,\n @]\n", 3},
		{"beyond the search", strings.Repeat("# x\n", searchedLines) + "a: 1\nb: @\n", searchedLines + 2},
	} {
		_, err := Parse("f", []byte(tt.text))
		var errs Errors
		if !errors.As(err, &errs) || errs[0].Line != tt.line {
			t.Errorf("%s: want line %d: %v", tt.name, tt.line, err)
		}
	}
}

func TestNearest(t *testing.T) {
	names := Default().keys().names()
	for word, want := range map[string]string{
		"clutser": "cluster", "mysq": "mysql", "elction": "election", "Web": "web",
		"vips": "vip", "colour": "", "x": "", "": "", strings.Repeat("a", 1000): "",
	} {
		if got := nearest(word, names); got != want {
			t.Errorf("nearest to %.20q is %q, want %q", word, got, want)
		}
	}
}

func TestFormatDuration(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", 250 * time.Millisecond: "250ms", 90 * time.Second: "1m30s", time.Minute: "1m",
		time.Hour: "1h", 61 * time.Minute: "1h1m", time.Hour + time.Second: "1h0m1s", 10 * time.Second: "10s",
	} {
		if got := formatDuration(d); got != want {
			t.Errorf("formatDuration(%v) is %s, want %s", d, got, want)
		}
	}
}

// FuzzParse: no input makes Parse panic, every error has a place in the file,
// and what is accepted once is accepted again.
func FuzzParse(f *testing.F) {
	for _, dir := range []string{"bad", "good"} {
		for _, file := range corpus(f, dir) {
			f.Add(file.data)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := Parse("f", data)
		if err == nil {
			checkErrors(t, data, c.Warnings)
			if _, err := c.Self(c.Cluster.Nodes[0].Name); err != nil {
				t.Errorf("the first node is not found: %v", err)
			}
			return
		}
		var errs Errors
		if !errors.As(err, &errs) || len(errs) == 0 || c != nil {
			t.Fatalf("Parse returned %v and %#v, want Errors alone", c, err)
		}
		checkErrors(t, data, errs)
	})
}
