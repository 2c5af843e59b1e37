// SPDX-License-Identifier: Apache-2.0

package configs

import (
	"net/netip"
	"time"

	"go.yaml.in/yaml/v3"
)

// The keys of the file: name, kind of value with its unit and range, and the
// field it sets. Their order is that of reference.yaml.

// nodePlaceholder stands for the name of a node in replication.user.
const nodePlaceholder = "{node}"

func (c *Config) keys() mapping {
	return mapping{
		{name: "node", kind: name(&c.Node, "db1"), absent: "the host's name"},
		{name: "cluster", kind: c.Cluster.keys()},
		{name: "election", kind: c.Election.keys()},
		{name: "vip", kind: c.VIP.keys()},
		{name: "durability", kind: c.Durability.keys()},
		{name: "mysql", kind: c.MySQL.keys()},
		{name: "check", kind: c.Check.keys()},
		{name: "promote", kind: c.Promote.keys()},
		{name: "fencing", kind: c.Fencing.keys()},
		{name: "web", kind: c.Web.keys()},
		{name: "log", kind: c.Log.keys()},
		{name: "state_dir", kind: absolutePath(&c.StateDir, "/var/lib/highwater")},
	}
}

func (c *Cluster) keys() mapping {
	return mapping{
		{name: "name", kind: name(&c.Name, "orders"), required: true},
		{name: "secret_file", kind: secretFile(&c.SecretFile, "/etc/highwater/secret"), absent: "none"},
		{name: "secret_env", kind: secretEnv(&c.SecretEnv, "HIGHWATER_SECRET"), absent: "none"},
		{name: "cert_file", kind: absolutePath(&c.CertFile, "/etc/highwater/node.pem"), absent: "none"},
		{name: "key_file", kind: absolutePath(&c.KeyFile, "/etc/highwater/node.key"), absent: "none"},
		{name: "ca_file", kind: absolutePath(&c.CAFile, "/etc/highwater/ca.pem"), absent: "none"},
		{name: "secret", refused: "write secret_file or secret_env: secrets are not part of this file"},
		{name: "nodes", kind: nodeList{&c.Nodes}, required: true},
	}
}

// maxNodes bounds the cluster: each node tells its state to every other.
const maxNodes = 15

// nodeList is cluster.nodes.
type nodeList struct{ into *[]Node }

func (k nodeList) list() list[Node] {
	return list[Node]{into: k.into, min: 1, max: maxNodes, elem: func(n *Node) kind {
		*n = defaultNode()
		return n.keys()
	}}
}

func (k nodeList) decode(d *decoder, n *yaml.Node, path string) { k.list().decode(d, n, path) }

func (k nodeList) spec() string { return k.list().spec() }

func (nodeList) keys() mapping {
	n := defaultNode()
	return n.keys()
}

func (n *Node) keys() mapping {
	return mapping{
		{name: "name", kind: name(&n.Name, "db1"), required: true},
		{name: "address", kind: peerAddress{&n.Address}, required: true},
		{name: "priority", kind: number[uint8]{into: &n.Priority, min: 1, max: 254}},
		{name: "nofailover", kind: boolean{&n.NoFailover}},
		{name: "witness", kind: boolean{&n.Witness}},
		{name: "mysql", kind: serverAddress{into: &n.MySQL}, absent: "the node's address and mysql.port"},
	}
}

func (e *Election) keys() mapping {
	return mapping{
		{name: "authority", kind: choice{&e.Authority, []string{AuthorityVRRP, AuthorityQuorum, AuthorityAuto}}},
		{name: "interface", kind: interfaceName(&e.Interface), required: true},
		{name: "vrid", kind: number[uint8]{into: &e.VRID, min: 1, max: 255}, required: true},
		{name: "version", kind: number[uint8]{into: &e.Version, min: 2, max: 3}},
		// Version 3 has 12 bits of centiseconds for it (RFC 9568 §5.2.7),
		// version 2 has 8 bits of seconds (RFC 3768 §5.3.7).
		{name: "advert_interval", kind: duration{into: &e.AdvertInterval, min: 10 * time.Millisecond, max: 255 * time.Second, step: 10 * time.Millisecond}, absent: "500ms; 1s with version 2"},
		{name: "preempt", kind: boolean{&e.Preempt}},
		{name: "down_timer_adverts", kind: number[int]{into: &e.DownTimerAdverts, min: 2, max: 10, unit: "intervals"}},
		{name: "checksum", kind: choice{&e.Checksum, []string{ChecksumPseudoHeader, ChecksumRFC9568}}},
		{name: "unicast", kind: boolean{&e.Unicast}},
		{name: "accept_from", kind: list[netip.Addr]{into: &e.AcceptFrom, min: 1, max: 4 * maxNodes, elem: func(a *netip.Addr) kind { return ipAddress{a} }}, absent: "the addresses of cluster.nodes"},
		{name: "startup_delay", kind: duration{into: &e.StartupDelay, min: time.Second, max: 10 * time.Minute, off: true}},
		{name: "hold_off", kind: duration{into: &e.HoldOff, min: time.Second, max: time.Hour, off: true}},
	}
}

func (v *VIP) keys() mapping {
	return mapping{
		// A version 2 advert with 20 IPv4 addresses is still one small packet;
		// keepalived has the same limit.
		{name: "addresses", kind: list[netip.Prefix]{into: &v.Addresses, min: 1, max: 20, elem: func(p *netip.Prefix) kind { return vipAddress{p} }}, required: true},
		{name: "interface", kind: interfaceName(&v.Interface), absent: "election.interface"},
		{name: "lease", kind: duration{into: &v.Lease, min: time.Second, max: time.Minute, step: time.Second}},
		{name: "linger", kind: duration{into: &v.Linger, min: 100 * time.Millisecond, max: 10 * time.Second, off: true}},
		{name: "garp", kind: v.GARP.keys()},
		{name: "label", kind: text{into: &v.Label, what: "a label of 1 to 15 characters that begins with the interface's name", example: "eth0:vip", check: labelText.MatchString}, absent: "none"},
		{name: "session_fence", kind: choice{&v.SessionFence, []string{SessionFenceAuto, SessionFenceNFT, SessionFenceNone}}},
	}
}

func (g *GARP) keys() mapping {
	return mapping{
		{name: "repeat", kind: number[int]{into: &g.Repeat, min: 1, max: 20, unit: "announcements"}},
		{name: "interval", kind: duration{into: &g.Interval, min: 10 * time.Millisecond, max: 5 * time.Second}},
		{name: "delay", kind: duration{into: &g.Delay, min: 100 * time.Millisecond, max: time.Minute, off: true}},
		{name: "refresh", kind: duration{into: &g.Refresh, min: time.Second, max: time.Hour, off: true}},
	}
}

func (d *Durability) keys() mapping {
	return mapping{
		{name: "mode", kind: choice{&d.Mode, []string{Lossless, BestEffort}}},
		{name: "when_alone", kind: choice{&d.WhenAlone, []string{WhenAloneStall, WhenAloneContinue}}, absent: "stall; continue with two servers and a witness"},
		{name: "rejoin", kind: choice{&d.Rejoin, []string{RejoinAuto, RejoinHold}}, absent: "auto; hold with best-effort"},
	}
}

const (
	passwordRefused = "write password_file or password_env: secrets are not part of this file"
	serverPassword  = "HIGHWATER_MYSQL_PASSWORD"
	replicaPassword = "HIGHWATER_REPLICATION_PASSWORD"
)

func (m *MySQL) keys() mapping {
	return mapping{
		{name: "address", kind: serverAddress{into: &m.Address, socket: true}},
		{name: "user", kind: text{into: &m.User, what: "the name of an account, without host", example: "highwater", check: isAccount}},
		{name: "password_file", kind: secretFile(&m.PasswordFile, "/etc/highwater/mysql.password"), absent: "none"},
		{name: "password_env", kind: secretEnv(&m.PasswordEnv, serverPassword), absent: "none"},
		{name: "password", refused: passwordRefused},
		{name: "tls", kind: optionalTLS{into: &m.TLS, client: true}},
		{name: "port", kind: number[uint16]{into: &m.Port, min: 1, max: 65535}, absent: "the port of mysql.address; 3306 with a socket"},
		{name: "heartbeat", kind: text{into: &m.Heartbeat, what: "schema.table, of letters, digits, _ and $", example: "highwater.heartbeat", check: tableText.MatchString}},
		{name: "pid_file", kind: absolutePath(&m.PidFile, "/run/mysqld/mysqld.pid"), absent: "none: the process is found through the socket"},
		{name: "replication", kind: m.Replication.keys()},
	}
}

func (r *Replication) keys() mapping {
	return mapping{
		{name: "user", kind: text{into: &r.User, what: "the name of an account, without host; " + nodePlaceholder + " stands for the replica's node", example: `"repl-{node}"`, check: isAccountPattern}},
		{name: "password_file", kind: secretFile(&r.PasswordFile, "/etc/highwater/repl.password"), absent: "none"},
		{name: "password_env", kind: secretEnv(&r.PasswordEnv, replicaPassword), absent: "none"},
		{name: "password", refused: passwordRefused},
		{name: "tls", kind: optionalTLS{into: &r.TLS}},
	}
}

// optionalTLS is a TLS that is there only if its key is.
type optionalTLS struct {
	into   **TLS
	client bool // a connection of ours, not one between servers
}

func (k optionalTLS) decode(d *decoder, n *yaml.Node, path string) {
	t := new(TLS)
	t.keys(k.client).decode(d, n, path)
	*k.into = t
}

func (k optionalTLS) spec() string { return new(TLS).keys(k.client).spec() }

func (t *TLS) keys(client bool) mapping {
	m := mapping{
		{name: "ca_file", kind: absolutePath(&t.CAFile, "/etc/highwater/mysql-ca.pem"), absent: "the system's authorities"},
		{name: "cert_file", kind: absolutePath(&t.CertFile, "/etc/highwater/mysql-client.pem"), absent: "none"},
		{name: "key_file", kind: absolutePath(&t.KeyFile, "/etc/highwater/mysql-client.key"), absent: "none"},
	}
	if client {
		return append(m, key{name: "server_name", kind: text{into: &t.ServerName, what: "a host name", example: "db.example.com", check: hostText.MatchString}, absent: "the host of mysql.address"})
	}
	return append(m, key{name: "server_name", refused: "remove it: a replica compares the certificate with the host it replicates from"})
}

func (c *Check) keys() mapping {
	return mapping{
		{name: "interval", kind: duration{into: &c.Interval, min: 50 * time.Millisecond, max: 10 * time.Second}},
		{name: "timeout", kind: duration{into: &c.Timeout, min: 100 * time.Millisecond, max: 30 * time.Second}},
		{name: "rise", kind: number[int]{into: &c.Rise, min: 1, max: 100, unit: "checks"}},
		{name: "fall", kind: number[int]{into: &c.Fall, min: 1, max: 100, unit: "checks"}},
		{name: "max_lag", kind: duration{into: &c.MaxLag, min: time.Second, max: 24 * time.Hour}},
		{name: "commit_timeout", kind: duration{into: &c.CommitTimeout, min: time.Second, max: 5 * time.Minute}},
	}
}

func (p *Promote) keys() mapping {
	return mapping{
		{name: "timeout", kind: duration{into: &p.Timeout, min: time.Second, max: time.Hour}},
		{name: "gather_timeout", kind: duration{into: &p.GatherTimeout, min: 100 * time.Millisecond, max: time.Minute}},
		{name: "wait_for_lease", kind: boolean{&p.WaitForLease}},
		{name: "hooks", kind: p.Hooks.keys()},
		{name: "command", kind: argv{&p.Command}, absent: "none: the built-in promotion"},
	}
}

func (h *Hooks) keys() mapping {
	hooks := func(into *[][]string) kind {
		return list[[]string]{into: into, max: 16, elem: func(v *[]string) kind { return argv{v} }}
	}
	return mapping{
		{name: "before", kind: hooks(&h.Before)},
		{name: "after", kind: hooks(&h.After)},
		{name: "timeout", kind: duration{into: &h.Timeout, min: 100 * time.Millisecond, max: 10 * time.Minute}},
	}
}

func (f *Fencing) keys() mapping {
	return mapping{
		{name: "kill_server", kind: optionalBoolean{&f.KillServer}, absent: "true with a quorum, false with vrrp"},
		{name: "timeout", kind: duration{into: &f.Timeout, min: 500 * time.Millisecond, max: time.Minute}},
	}
}

func (w *Web) keys() mapping {
	return mapping{
		{name: "listen", kind: listenAddress{&w.Listen}},
		{name: "config_file", kind: absolutePath(&w.ConfigFile, "/etc/highwater/web.yml"), absent: "none"},
	}
}

func (l *Log) keys() mapping {
	return mapping{
		{name: "level", kind: choice{&l.Level, []string{"debug", "info", "warn", "error"}}},
		{name: "format", kind: choice{&l.Format, []string{"text", "json"}}},
	}
}
