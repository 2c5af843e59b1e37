// SPDX-License-Identifier: Apache-2.0

package configs

import (
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"strconv"
	"time"
	"unicode/utf8"
)

// checksPerLease is how many health checks must fit into the VIP's lease: with
// fewer, one late check lets it lapse.
const checksPerLease = 4

// checkTiming compares the VIP's lease with what must happen within it, and a
// check's deadlines with each other.
func (v *validator) checkTiming() {
	lease, interval, timeout := v.VIP.Lease, v.Check.Interval, v.Check.Timeout
	if v.sound("vip.lease", "check.interval") && lease < checksPerLease*interval {
		v.refuse("vip.lease", fmt.Sprintf("%s is shorter than %d checks (check.interval is %s)", formatDuration(lease), checksPerLease, formatDuration(interval)),
			"write a longer lease or a shorter interval")
	}
	if v.sound("vip.lease", "check.timeout") && lease <= timeout {
		v.refuse("vip.lease", fmt.Sprintf("%s may end before one check does (check.timeout is %s)", formatDuration(lease), formatDuration(timeout)),
			"write a longer lease or a shorter timeout")
	}
	if v.sound("vip.lease", "vip.linger") && v.VIP.Linger > lease {
		v.refuse("vip.linger", fmt.Sprintf("%s is longer than the lease, %s", formatDuration(v.VIP.Linger), formatDuration(lease)),
			"write at most the lease")
	}
	if v.sound("check.timeout", "check.commit_timeout") && v.Check.CommitTimeout < timeout {
		v.refuse("check.commit_timeout", fmt.Sprintf("%s is shorter than check.timeout, %s", formatDuration(v.Check.CommitTimeout), formatDuration(timeout)),
			"write at least as much: a server is hung only when it does not even answer")
	}
}

// checkDurability holds lossless to the nodes and the authority that it needs.
func (v *validator) checkDurability() {
	d := v.Durability
	if !v.sound("durability") {
		return
	}
	if d.Mode == BestEffort {
		if v.isWritten("durability.when_alone") {
			v.refuse("durability.when_alone", "best-effort never waits for a replica, so this means nothing", "remove it, or write mode: lossless")
		}
		if d.Rejoin == RejoinAuto {
			v.refuse("durability.rejoin", "with best-effort clients may have been told of what an old primary alone has", "write hold, or mode: lossless")
		}
		return
	}
	if !v.sound("cluster.nodes", "election.authority") {
		return
	}
	if v.servers() == 1 {
		v.refuse("durability.mode", "lossless needs a second server to acknowledge commits, and one is listed", "add one, or write mode: best-effort")
		return
	}
	if v.Authority() == AuthorityVRRP {
		if v.servers() == 2 && !v.isWritten("durability.mode") {
			v.refuse("durability.mode", "not written, it means lossless: in a pair without a quorum writes then stall when either server is lost",
				"add a third node (a witness will do) for a quorum, or write mode: best-effort")
		}
		if d.WhenAlone == WhenAloneContinue {
			v.refuse("durability.when_alone", "continue needs a quorum to record that the primary goes on alone", "write stall, or have a quorum")
		}
	}
	if v.sound("mysql.replication.user") && v.MySQL.Replication.UserFor("a") == v.MySQL.Replication.UserFor("b") {
		v.refuse("mysql.replication.user", "lossless locks out one replica by its account, and all nodes have the same", `write one per node: "repl-{node}"`)
	}
}

// checkMySQL wants one way to log in to the local server.
func (v *validator) checkMySQL() {
	m := v.MySQL
	if m.PasswordFile != "" && m.PasswordEnv != "" {
		v.refuse("mysql.password_env", "password_file is written too", "keep one of the two")
	}
	v.checkTLS("mysql.tls", m.TLS)
	if !v.sound("mysql") {
		return
	}
	socket := filepath.IsAbs(m.Address)
	if socket && m.TLS != nil {
		v.refuse("mysql.tls", "mysql.address is a unix socket, which needs no TLS", "remove it, or write host:port as the address")
	}
	// A server trusts the system user of a socket (auth_socket, unix_socket).
	if !socket && m.PasswordFile == "" && m.PasswordEnv == "" && (m.TLS == nil || m.TLS.CertFile == "") {
		v.refuse("mysql", "there is no password for "+m.Address, "write password_file or password_env")
	}
}

// checkReplication wants one way for servers to log in to each other.
func (v *validator) checkReplication() {
	r := v.MySQL.Replication
	if r.PasswordFile != "" && r.PasswordEnv != "" {
		v.refuse("mysql.replication.password_env", "password_file is written too", "keep one of the two")
	}
	v.checkTLS("mysql.replication.tls", r.TLS)
	if !v.sound("mysql.replication") {
		return
	}
	if r.PasswordFile == "" && r.PasswordEnv == "" && (r.TLS == nil || r.TLS.CertFile == "") {
		v.refuse("mysql.replication", "there is no password for replication", "write password_file or password_env")
	}
	if !v.sound("cluster.nodes") {
		return
	}
	for i, n := range v.Cluster.Nodes {
		if user := r.UserFor(n.Name); !n.Witness && utf8.RuneCountInString(user) > maxMySQLUser {
			v.warn(nodePath(i)+".name", fmt.Sprintf("replication account %s is longer than MySQL's %d characters", shown(user), maxMySQLUser),
				"write a shorter name or replication.user; MariaDB takes it")
		}
	}
}

// maxMySQLUser is the length of an account's name in MySQL 8.0 to 9.x; in
// MariaDB it is 80 and more.
const maxMySQLUser = 32

func (v *validator) checkTLS(path string, t *TLS) {
	if t != nil && v.sound(path) && (t.CertFile == "") != (t.KeyFile == "") {
		v.refuse(path, "cert_file and key_file go together", "write both or none")
	}
}

// checkFencing wants a way to find the process that is to be killed.
func (v *validator) checkFencing() {
	if !v.sound("fencing.kill_server", "mysql.address", "mysql.pid_file", "election.authority", "cluster.nodes") {
		return
	}
	if !*v.Fencing.KillServer || filepath.IsAbs(v.MySQL.Address) || v.MySQL.PidFile != "" {
		return
	}
	what := "the server cannot be killed when it must be: without a unix socket its process is not known"
	instead := "write mysql.pid_file, or the socket as mysql.address"
	if v.isWritten("fencing.kill_server") {
		v.refuse("fencing.kill_server", what, instead)
	} else {
		v.warn("mysql.address", what, instead)
	}
}

// checkPromote compares a promotion's deadline with what must fit into it.
func (v *validator) checkPromote() {
	p := v.Promote
	if !v.sound("promote.timeout") {
		return
	}
	if v.sound("promote.gather_timeout") && p.GatherTimeout >= p.Timeout {
		v.refuse("promote.gather_timeout", fmt.Sprintf("%s leaves nothing of promote.timeout, %s", formatDuration(p.GatherTimeout), formatDuration(p.Timeout)),
			"write less")
	}
	if v.sound("promote.hooks.timeout") && p.Hooks.Timeout > p.Timeout {
		v.refuse("promote.hooks.timeout", fmt.Sprintf("%s is longer than promote.timeout, %s", formatDuration(p.Hooks.Timeout), formatDuration(p.Timeout)),
			"write at most promote.timeout")
	}
	if !v.sound("promote.wait_for_lease", "durability.mode", "vip.lease") || v.Durability.Mode != BestEffort {
		return
	}
	if !p.WaitForLease {
		v.warn("promote.wait_for_lease", "the old primary may still acknowledge writes while the new one does",
			"remove it unless speed is worth that")
	} else if wait := leaseSurelyEnded(v.VIP.Lease); wait >= p.Timeout {
		v.refuse("promote.timeout", fmt.Sprintf("%s ends before the old primary's lease surely has, after %s", formatDuration(p.Timeout), formatDuration(wait)),
			"write more, or a shorter vip.lease")
	}
}

// leaseSurelyEnded is how long after its last renewal a lease has ended on a
// host whose clock drifts by a tenth, and the kernel removed the address: see
// docs/design.md §6.
func leaseSurelyEnded(lease time.Duration) time.Duration {
	return (lease + 1500*time.Millisecond) * 11 / 10
}

// checkWeb keeps the listener off the peer channel and the VIPs.
func (v *validator) checkWeb() {
	w := v.Web
	if v.sound("web") && w.Listen == "" && w.ConfigFile != "" {
		v.refuse("web.config_file", "web.listen is none, so this means nothing", "remove it")
	}
	if !v.sound("web.listen", "cluster.nodes", "vip.addresses") || w.Listen == "" {
		return
	}
	host, p, _ := net.SplitHostPort(w.Listen) // decoded
	port, _ := parsePort(p)
	ip, _ := netip.ParseAddr(host) // invalid when the host is empty: all addresses
	if v.isVIP(ip) {
		v.refuse("web.listen", "this is a VIP, which is not always here", "write "+strconv.Quote(":"+p))
	}
	for _, n := range v.Cluster.Nodes {
		if all := !ip.IsValid() || ip.IsUnspecified(); port == n.Address.Port() && (all || ip == n.Address.Addr()) {
			v.refuse("web.listen", fmt.Sprintf("port %d is that of the peer channel", port), "write another port")
			break
		}
	}
}
