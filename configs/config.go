// SPDX-License-Identifier: Apache-2.0

package configs

import (
	"net/netip"
	"time"
)

// Values of election.authority.
const (
	AuthorityVRRP   = "vrrp"
	AuthorityQuorum = "quorum"
	AuthorityAuto   = "auto"
)

// Values of election.checksum.
const (
	ChecksumPseudoHeader = "pseudo-header"
	ChecksumRFC9568      = "rfc9568"
)

// Values of vip.session_fence.
const (
	SessionFenceAuto = "auto"
	SessionFenceNFT  = "nft"
	SessionFenceNone = "none"
)

// Values of durability.mode, durability.when_alone and durability.rejoin.
const (
	Lossless   = "lossless"
	BestEffort = "best-effort"

	WhenAloneStall    = "stall"
	WhenAloneContinue = "continue"

	RejoinAuto = "auto"
	RejoinHold = "hold"
)

// Default ports, for addresses written without one.
const (
	DefaultPeerPort  = 7475
	DefaultMySQLPort = 3306
)

// Config is one validated configuration file. The same file serves every host;
// [Config.Self] finds the entry of this one. Units, ranges and defaults of each
// field are in schema.go, [Default] and docs/configuration.md.
type Config struct {
	File     string  // name of the file it was read from, for messages
	Warnings []Error // what works and may surprise, sorted by position

	Node       string // name of this host's entry; "" means its host name
	Cluster    Cluster
	Election   Election
	VIP        VIP
	Durability Durability
	MySQL      MySQL
	Check      Check
	Promote    Promote
	Fencing    Fencing
	Web        Web
	Log        Log
	StateDir   string // directory for promises, journal and control socket

	positions map[string]position // where each key that was written stands
}

// Cluster names the hosts that form one cluster and how they know each other.
// Exactly one of SecretFile, SecretEnv and the three certificate files is set.
type Cluster struct {
	Name                      string
	SecretFile                string
	SecretEnv                 string
	CertFile, KeyFile, CAFile string
	Nodes                     []Node
}

// Node is one host of the cluster.
type Node struct {
	Name       string
	Address    netip.AddrPort // peer channel
	Priority   uint8          // VRRP priority, 1 to 254: a preference only
	NoFailover bool           // replicates, and never becomes primary
	Witness    bool           // votes, and has no server
	MySQL      string         // "host:port" where others replicate from it; "" means address and mysql.port
}

// Election is the VRRP instance and who has the right to be primary.
type Election struct {
	Authority        string
	Interface        string
	VRID             uint8
	Version          uint8
	AdvertInterval   time.Duration
	Preempt          bool
	DownTimerAdverts int
	Checksum         string
	Unicast          bool
	AcceptFrom       []netip.Addr // never empty: the nodes' addresses unless written
	StartupDelay     time.Duration
	HoldOff          time.Duration // after a failover; the cluster record holds it
}

// VIP is the virtual addresses and how they are held and announced.
type VIP struct {
	Addresses []netip.Prefix
	Interface string        // never empty: election.interface unless written
	Lease     time.Duration // whole seconds
	Linger    time.Duration
	GARP      GARP
	Label     string
	// SessionFence says whether nftables cut sessions at the end of the lease.
	SessionFence string
}

// GARP is the rhythm of gratuitous ARP and unsolicited neighbour advertisements.
type GARP struct {
	Repeat   int           // announcements per block
	Interval time.Duration // between two of a block
	Delay    time.Duration // from the first block to the second; 0 means one block
	Refresh  time.Duration // between single announcements afterwards; 0 means none
}

// Durability is what an acknowledged commit is worth.
type Durability struct {
	Mode      string
	WhenAlone string // "" with best-effort; else never empty
	Rejoin    string // never empty
}

// MySQL is the local server and how it replicates.
type MySQL struct {
	Address      string // absolute path of a unix socket, or host:port
	User         string
	PasswordFile string
	PasswordEnv  string
	TLS          *TLS // nil means no TLS
	Port         uint16
	Heartbeat    string // schema.table
	PidFile      string // "" means found through the socket
	Replication  Replication
}

// Replication is the account that other hosts replicate from a server with.
type Replication struct {
	User         string // {node} stands for the name of the replica's node
	PasswordFile string
	PasswordEnv  string
	TLS          *TLS // nil means no TLS
}

// TLS is how a connection to a server is secured.
type TLS struct {
	CAFile     string // "" means the system's certificate authorities
	CertFile   string // with KeyFile
	KeyFile    string
	ServerName string // "" means the host of the address; unused by replication
}

// Check is the health check of the local server.
type Check struct {
	Interval      time.Duration
	Timeout       time.Duration
	Rise          int
	Fall          int
	MaxLag        time.Duration
	CommitTimeout time.Duration
}

// Promote is what happens between the right to be primary and the VIP.
type Promote struct {
	Timeout       time.Duration
	GatherTimeout time.Duration
	WaitForLease  bool
	Hooks         Hooks
	Command       []string // argv; empty means the built-in promotion
}

// Hooks are programs run around a promotion. Each is an argv whose first
// element is an absolute path; no shell sees it.
type Hooks struct {
	Before, After [][]string
	Timeout       time.Duration // of one hook
}

// Fencing is what happens to a server that does not obey a demotion.
type Fencing struct {
	KillServer *bool // never nil after Parse: true with a quorum unless written
	Timeout    time.Duration
}

// Web is the HTTP listener for status and metrics.
type Web struct {
	Listen     string // "" means none
	ConfigFile string // TLS and basic auth, as in Prometheus' exporter-toolkit
}

// Log is how the supervisor logs.
type Log struct {
	Level, Format string
}

// Default returns a Config with every default that does not depend on another
// key; those that do are in resolve.
func Default() *Config {
	return &Config{
		Election: Election{
			// Three or more voters can outvote a cut-off primary, so they do.
			Authority: AuthorityAuto,
			// RFC 9568; version 2 is for routers and keepalived set to it.
			Version: 3,
			// Down after 1.5 s plus skew: quiet enough for a shared network.
			AdvertInterval: 500 * time.Millisecond,
			// RFC 9568 §6.1: Active_Down_Interval is three intervals and skew.
			DownTimerAdverts: 3,
			// What keepalived expects by default, against RFC 9568 §5.2.8.
			Checksum: ChecksumPseudoHeader,
			// Two servers that hang in turns move the role once a minute at most.
			HoldOff: time.Minute,
		},
		VIP: VIP{
			// Kernel lifetimes count in seconds; renewed every third of it.
			Lease: 3 * time.Second,
			// A refused connection is retried at once, a lost SYN after 1 s.
			Linger: time.Second,
			GARP: GARP{
				// Five at 300 ms outlast the second for which Linux neighbours
				// ignore a changed mapping (arp locktime).
				Repeat:   5,
				Interval: 300 * time.Millisecond,
				// For switches that learn late, as after a link comes up.
				Delay: 5 * time.Second,
				// Keeps forwarding tables warm for a VIP that only listens.
				Refresh: time.Minute,
			},
			// Better than the kernel's whole seconds, and not everywhere to be had.
			SessionFence: SessionFenceAuto,
		},
		// Writes stall rather than lose.
		Durability: Durability{Mode: Lossless},
		MySQL: MySQL{
			Address:   "/run/mysqld/mysqld.sock",
			User:      "highwater",
			Heartbeat: "highwater.heartbeat",
			// One account per node: one replica can be locked out by itself.
			Replication: Replication{User: "repl-{node}"},
		},
		Check: Check{
			Interval:      250 * time.Millisecond,
			Timeout:       time.Second,
			Rise:          2,
			Fall:          1,
			MaxLag:        10 * time.Second,
			CommitTimeout: 5 * time.Second,
		},
		Promote: Promote{
			Timeout: 30 * time.Second,
			// A replica that seals behind a long transaction answers late.
			GatherTimeout: 2 * time.Second,
			// False trades "never two writers" for speed.
			WaitForLease: true,
			Hooks:        Hooks{Timeout: 10 * time.Second},
		},
		Fencing: Fencing{Timeout: 5 * time.Second},
		Web:     Web{Listen: ":7476"},
		Log:     Log{Level: "info", Format: "text"},

		StateDir: "/var/lib/highwater",
	}
}

// defaultNode is an entry of cluster.nodes before its keys are read.
func defaultNode() Node { return Node{Priority: 100} }
