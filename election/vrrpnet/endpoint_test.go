// SPDX-License-Identifier: Apache-2.0

package vrrpnet

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"highwater/election/vrrp"
)

func ips(list ...string) []netip.Addr {
	var out []netip.Addr
	for _, s := range list {
		out = append(out, netip.MustParseAddr(s))
	}
	return out
}

// advert returns an advertisement with one address.
func advert(version vrrp.Version, vrid, priority uint8, interval time.Duration, address string) *vrrp.Advertisement {
	a := &vrrp.Advertisement{Version: version, VRID: vrid, Priority: priority, Interval: interval}
	a.SetAddresses(ips(address))
	return a
}

// message encodes a as it is.
func message(t testing.TB, a *vrrp.Advertisement, src, dst netip.Addr, dialect vrrp.Checksum) []byte {
	t.Helper()
	b, err := a.AppendTo(nil, src, dst, dialect)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestCheck has one case for each reason, and the neighbours that must pass.
func TestCheck(t *testing.T) {
	var (
		own, peer, stranger = netip.MustParseAddr("10.9.0.1"), netip.MustParseAddr("10.9.0.2"), netip.MustParseAddr("10.9.0.3")
		multicast           = Config{Interface: "x", Family: IPv4, VRID: 51, Version: vrrp.V3}
		unicast             = Config{Interface: "x", Family: IPv4, VRID: 51, Version: vrrp.V3, Peers: []netip.Addr{peer}}
		v2                  = Config{Interface: "x", Family: IPv4, VRID: 51, Version: vrrp.V2, Interval: time.Second}
		password            = Config{Interface: "x", Family: IPv4, VRID: 51, Version: vrrp.V2, AuthType: vrrp.AuthSimple, AuthData: [8]byte{'s'}}
		limited             = Config{Interface: "x", Family: IPv4, VRID: 51, Version: vrrp.V3, AcceptFrom: []netip.Addr{peer}}
		routed              = Config{Interface: "x", Family: IPv4, VRID: 51, Version: vrrp.V3, Peers: []netip.Addr{peer}, MinTTL: 64}
		six                 = Config{Interface: "x", Family: IPv6, VRID: 51, Version: vrrp.V3}
		six1, six2          = netip.MustParseAddr("fe80::1"), netip.MustParseAddr("fe80::2")
	)
	good3 := advert(vrrp.V3, 51, 100, 100*time.Millisecond, "10.9.0.100")
	good2 := advert(vrrp.V2, 51, 100, time.Second, "10.9.0.100")
	withPassword := func(p byte) *vrrp.Advertisement {
		a := good2.Clone()
		a.AuthType, a.AuthData = vrrp.AuthSimple, [8]byte{p}
		return &a
	}
	tests := []struct {
		name    string
		cfg     Config
		adv     *vrrp.Advertisement
		dialect vrrp.Checksum
		damage  func(d *datagram)
		want    vrrp.Reason
	}{
		{name: "multicast", cfg: multicast, adv: good3},
		{name: "multicast with the checksum of RFC 9568", cfg: multicast, adv: good3, dialect: vrrp.ChecksumRFC9568},
		{name: "unicast", cfg: unicast, adv: good3},
		{name: "version 2", cfg: v2, adv: good2},
		{name: "password", cfg: password, adv: withPassword('s')},
		{name: "accepted source", cfg: limited, adv: good3},
		{name: "routed unicast", cfg: routed, adv: good3, damage: func(d *datagram) { d.ttl = 64 }},
		{name: "IPv6", cfg: six, adv: advert(vrrp.V3, 51, 100, time.Second, "fe80::100")},

		{name: "other interface", cfg: multicast, adv: good3, damage: func(d *datagram) { d.ifIndex++ }, want: vrrp.ReasonInterface},
		{name: "other VRID", cfg: multicast, adv: advert(vrrp.V3, 52, 100, time.Second, "10.9.0.100"), want: vrrp.ReasonOtherVRID},
		{name: "other VRID, whatever else is wrong", cfg: multicast, adv: good3, damage: func(d *datagram) { d.payload[1], d.ttl = 52, 1 }, want: vrrp.ReasonOtherVRID},
		{name: "TTL 254", cfg: multicast, adv: good3, damage: func(d *datagram) { d.ttl = 254 }, want: vrrp.ReasonTTL},
		{name: "TTL 254, unicast", cfg: unicast, adv: good3, damage: func(d *datagram) { d.ttl = 254 }, want: vrrp.ReasonTTL},
		{name: "TTL 63, routed", cfg: routed, adv: good3, damage: func(d *datagram) { d.ttl = 63 }, want: vrrp.ReasonTTL},
		{name: "hop limit 64", cfg: six, adv: advert(vrrp.V3, 51, 100, time.Second, "fe80::100"), damage: func(d *datagram) { d.ttl = 64 }, want: vrrp.ReasonTTL},
		{name: "unicast to a multicast router", cfg: multicast, adv: good3, damage: func(d *datagram) { d.destination = own }, want: vrrp.ReasonDestination},
		{name: "another group", cfg: multicast, adv: good3, damage: func(d *datagram) { d.destination = netip.MustParseAddr("224.0.0.19") }, want: vrrp.ReasonDestination},
		{name: "multicast to a unicast router", cfg: unicast, adv: good3, damage: func(d *datagram) { d.destination = vrrp.GroupIPv4() }, want: vrrp.ReasonDestination},
		{name: "own source", cfg: multicast, adv: good3, damage: func(d *datagram) { d.source = own }, want: vrrp.ReasonOwnSource},
		{name: "not a peer", cfg: unicast, adv: good3, damage: func(d *datagram) { d.source = stranger }, want: vrrp.ReasonSource},
		{name: "not an accepted source", cfg: limited, adv: good3, damage: func(d *datagram) { d.source = stranger }, want: vrrp.ReasonSource},
		{name: "empty", cfg: multicast, adv: good3, damage: func(d *datagram) { d.payload = nil }, want: vrrp.ReasonTruncated},
		{name: "bad checksum", cfg: multicast, adv: good3, damage: func(d *datagram) { d.payload[7]++ }, want: vrrp.ReasonChecksum},
		{name: "bad checksum over IPv6", cfg: six, adv: advert(vrrp.V3, 51, 100, time.Second, "fe80::100"), damage: func(d *datagram) { d.payload[7]++ }, want: vrrp.ReasonChecksum},
		{name: "checksum over another source", cfg: multicast, adv: good3, damage: func(d *datagram) { d.source = stranger }, want: vrrp.ReasonChecksum},
		{name: "version 2 to 3", cfg: multicast, adv: good2, want: vrrp.ReasonOtherVersion},
		{name: "version 3 to 2", cfg: v2, adv: good3, want: vrrp.ReasonOtherVersion},
		{name: "no password", cfg: password, adv: good2, want: vrrp.ReasonAuthType},
		{name: "a password too many", cfg: v2, adv: withPassword('s'), want: vrrp.ReasonAuthType},
		{name: "another password", cfg: password, adv: withPassword('t'), want: vrrp.ReasonAuthData},
		{name: "another interval in version 2", cfg: v2, adv: advert(vrrp.V2, 51, 100, 2*time.Second, "10.9.0.100"), want: vrrp.ReasonInterval},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			src, dst, ours := peer, tt.cfg.Family.group(), own
			switch {
			case tt.cfg.unicast():
				dst = own
			case tt.cfg.Family == IPv6:
				src, ours = six2, six1
			}
			e := &endpoint{cfg: tt.cfg, ifIndex: 7}
			e.source.Store(&ours)
			if err := checkSource(&e.cfg, ours); err != nil {
				t.Fatal(err)
			}
			d := datagram{payload: message(t, tt.adv, src, dst, tt.dialect), source: src, destination: dst, ttl: 255, ifIndex: 7}
			if tt.damage != nil {
				tt.damage(&d)
			}
			var p Packet
			ok := e.accept(d, time.Hour, &p)
			var want Counters
			if tt.want == 0 {
				want.Accepted = 1
				if tt.dialect == vrrp.ChecksumRFC9568 {
					want.AcceptedRFC9568 = 1
				}
				if !p.Advertisement.Equal(tt.adv) || p.Source != src || p.Destination != dst || p.Dialect != tt.dialect || p.Received != time.Hour {
					t.Errorf("accepted as %+v", p)
				}
			} else {
				want.Dropped[tt.want] = 1
			}
			if got := e.Counters(); ok != (tt.want == 0) || got != want {
				t.Errorf("accepted %v, counters %+v, want %+v", ok, got, want)
			}
		})
	}
}

func TestNotLinkLocalIsCounted(t *testing.T) {
	own, peer := netip.MustParseAddr("fe80::1"), netip.MustParseAddr("fe80::2")
	e := &endpoint{cfg: Config{Interface: "x", Family: IPv6, VRID: 51, Version: vrrp.V3}}
	e.source.Store(&own)
	for _, address := range []string{"fd77::100", "fe80::100"} {
		d := datagram{payload: message(t, advert(vrrp.V3, 51, 1, time.Second, address), peer, vrrp.GroupIPv6(), 0), source: peer, destination: vrrp.GroupIPv6(), ttl: 255}
		if !e.accept(d, 0, new(Packet)) {
			t.Errorf("%s refused", address)
		}
	}
	if got := e.Counters(); got.Accepted != 2 || got.AcceptedNotLinkLocal != 1 {
		t.Errorf("counters %+v", got)
	}
}

func TestCountSend(t *testing.T) {
	var c counters
	for _, err := range []error{
		nil,
		os.NewSyscallError("sendmsg", syscall.EPERM), os.NewSyscallError("sendmsg", syscall.EACCES),
		os.NewSyscallError("sendmsg", syscall.ENOBUFS), fmt.Errorf("write: %w", os.ErrDeadlineExceeded),
		syscall.ENETUNREACH, errors.New("encode"), syscall.EINVAL,
	} {
		c.countSend(err)
	}
	if got, want := c.read(), (Counters{Sent: 1, SendDenied: 2, SendNoBuffers: 2, SendFailed: 3}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestValidate(t *testing.T) {
	valid := Config{Interface: "eth0", Family: IPv4, VRID: 51, Version: vrrp.V3}
	if err := valid.Validate(); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		change func(c *Config)
		want   string
	}{
		{func(c *Config) { c.Interface = "" }, "no interface"},
		{func(c *Config) { c.Family = 5 }, "address family 5"},
		{func(c *Config) { c.VRID = 0 }, "identifier 0"},
		{func(c *Config) { c.Version = 4 }, "version 4"},
		{func(c *Config) { c.Version, c.Family = vrrp.V2, IPv6 }, "version 2 over IPv6"},
		{func(c *Config) { c.AuthType = vrrp.AuthSimple }, "authentication in version 3"},
		{func(c *Config) { c.Interval = 5 * time.Millisecond }, "interval 5ms"},
		{func(c *Config) { c.Version, c.Interval = vrrp.V2, 100*time.Millisecond }, "interval 100ms"},
		{func(c *Config) { c.Checksum = 2 }, "checksum(2)"},
		{func(c *Config) { c.Version, c.AuthType = vrrp.V2, 2 }, "authentication type 2"},
		{func(c *Config) { c.AuthData = [8]byte{1} }, "data without"},
		{func(c *Config) { c.Source = netip.MustParseAddr("fe80::1") }, "source fe80::1"},
		{func(c *Config) { c.Source = netip.MustParseAddr("224.0.0.18") }, "source 224.0.0.18"},
		{func(c *Config) { c.Peers = ips("fe80::1") }, "peer fe80::1"},
		{func(c *Config) { c.Family, c.Peers = IPv6, ips("fe80::1%eth0") }, "peer fe80::1%eth0"},
		{func(c *Config) { c.Peers = ips("0.0.0.0") }, "peer 0.0.0.0"},
		{func(c *Config) { c.AcceptFrom = ips("::ffff:10.0.0.1") }, "peer ::ffff:10.0.0.1"},
		{func(c *Config) { c.Peers, c.AcceptFrom = ips("10.0.0.1"), ips("10.0.0.2") }, "accepted sources beside"},
		{func(c *Config) { c.MinTTL = 64 }, "minimum TTL 64"},
	}
	for _, tt := range tests {
		c := valid
		tt.change(&c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("error %v, want one with %q", err, tt.want)
		}
		if _, err := Listen(t.Context(), c); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("Listen: error %v, want one with %q", err, tt.want)
		}
	}
	c := Config{}
	if err := c.Validate(); strings.Count(err.Error(), "\n") != 3 {
		t.Errorf("not everything at once: %v", err)
	}
	c = valid
	c.Peers = ips("10.0.0.1", "10.0.0.2")
	if err := checkSource(&c, c.Peers[1]); err == nil {
		t.Error("a peer that is ourselves was accepted")
	}
}

func TestCloneIsIndependent(t *testing.T) {
	c := Config{Exclude: ips("10.0.0.1"), Peers: ips("10.0.0.2"), AcceptFrom: ips("10.0.0.3")}
	d := c.clone()
	for _, list := range [][]netip.Addr{c.Exclude, c.Peers, c.AcceptFrom} {
		list[0] = netip.Addr{}
	}
	if got := slices.Concat(d.Exclude, d.Peers, d.AcceptFrom); !slices.Equal(got, ips("10.0.0.1", "10.0.0.2", "10.0.0.3")) {
		t.Errorf("the clone has %v", got)
	}
}
