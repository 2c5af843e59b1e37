// SPDX-License-Identifier: Apache-2.0

package vip

import (
	"encoding/binary"
	"net/netip"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// fencePriority puts the chains just before a host's own filter: what that would
// drop is rejected, so that clients are told.
const fencePriority = -10

// loopback is the index of the loopback interface in every network namespace.
const loopback = 1

// A fenceFamily is what one family of addresses takes in the table.
type fenceFamily struct {
	name      string // begins the names of its sets
	protocol  byte   // NFPROTO_*
	source    uint32 // offset of the source address in the network header
	dest      uint32 // offset of the destination address
	length    uint32 // of an address
	key       nftables.SetDatatype
	firstID   uint32 // of its sets within one transaction
	addresses []netip.Addr
}

// fenceFamilies sorts the addresses by family and leaves out families without.
func fenceFamilies(addresses []netip.Addr) []fenceFamily {
	v4 := fenceFamily{name: "ipv4", protocol: unix.NFPROTO_IPV4, source: 12, dest: 16, length: 4, key: nftables.TypeIPAddr, firstID: 1}
	v6 := fenceFamily{name: "ipv6", protocol: unix.NFPROTO_IPV6, source: 8, dest: 24, length: 16, key: nftables.TypeIP6Addr, firstID: 11}
	for _, a := range addresses {
		if a.Is4() {
			v4.addresses = append(v4.addresses, a)
		} else {
			v6.addresses = append(v6.addresses, a)
		}
	}
	var families []fenceFamily
	for _, f := range []fenceFamily{v4, v6} {
		if len(f.addresses) > 0 {
			families = append(families, f)
		}
	}
	return families
}

// elements returns the addresses as elements of a set; timeout 0: for ever.
func (f fenceFamily) elements(timeout time.Duration) []nftables.SetElement {
	list := make([]nftables.SetElement, len(f.addresses))
	for i, a := range f.addresses {
		list[i] = nftables.SetElement{Key: a.AsSlice(), Timeout: timeout}
	}
	return list
}

// slot returns the set of the family's open addresses.
func (t *nftTable) slot(f fenceFamily, slot int) *nftables.Set {
	return &nftables.Set{
		Table: t.table, Name: f.name + [2]string{"_a", "_b"}[slot], ID: f.firstID + uint32(slot),
		KeyType: f.key, HasTimeout: true,
	}
}

// addRules queues everything in the table but what opens it. In nft(8)'s words,
// for one address and less the sets:
//
//	chain input  { type filter hook input priority -10;
//	               ip daddr VIP ip daddr != @ipv4_a ip daddr != @ipv4_b jump arriving }
//	chain output { type filter hook output priority -10;
//	               ip saddr VIP ip saddr != @ipv4_a ip saddr != @ipv4_b jump leaving }
//
// What arrives is refused, so that a client that sends is told at once. But one
// that waits for an answer sends nothing: so the answer itself is made the reset.
// Its sequence number is the one that the client expects next, and what it carries
// is not delivered (RFC 9293 section 3.10.7.4). Dropping it, or rejecting it, which
// tells only the server, would leave the client waiting.
func (t *nftTable) addRules(ephemeral uint16) error {
	accept := nftables.ChainPolicyAccept
	chain := func(name string, hook *nftables.ChainHook) *nftables.Chain {
		c := &nftables.Chain{Name: name, Table: t.table}
		if hook != nil {
			c.Type, c.Hooknum, c.Policy = nftables.ChainTypeFilter, hook, &accept
			c.Priority = nftables.ChainPriorityRef(fencePriority)
		}
		return t.conn.AddChain(c)
	}
	rule := func(c *nftables.Chain, expressions ...[]expr.Any) {
		r := &nftables.Rule{Table: t.table, Chain: c}
		for _, e := range expressions {
			r.Exprs = append(r.Exprs, e...)
		}
		t.conn.AddRule(r)
	}
	arriving, leaving := chain("arriving", nil), chain("leaving", nil)
	for _, c := range []struct {
		base   *nftables.Chain
		jump   string
		offset func(fenceFamily) uint32
	}{
		{chain("input", nftables.ChainHookInput), arriving.Name, func(f fenceFamily) uint32 { return f.dest }},
		{chain("output", nftables.ChainHookOutput), leaving.Name, func(f fenceFamily) uint32 { return f.source }},
	} {
		for _, f := range t.families {
			// A set without a name of its own cannot be changed, and serves one rule.
			ours := &nftables.Set{
				Table: t.table, Name: "__set%d", ID: f.firstID + 2 + c.offset(f),
				KeyType: f.key, Anonymous: true, Constant: true,
			}
			if err := t.conn.AddSet(ours, f.elements(0)); err != nil {
				return err
			}
			match := append(
				equal(&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1}, f.protocol),
				load(expr.PayloadBaseNetworkHeader, c.offset(f), f.length),
				&expr.Lookup{SourceRegister: 1, SetName: ours.Name, SetID: ours.ID},
			)
			for slot := range 2 {
				s := t.slot(f, slot)
				if c.jump == arriving.Name { // once
					if err := t.conn.AddSet(s, nil); err != nil {
						return err
					}
				}
				match = append(match, &expr.Lookup{SourceRegister: 1, SetName: s.Name, SetID: s.ID, Invert: true})
			}
			rule(c.base, match, verdict(expr.VerdictJump, c.jump))
		}
	}
	back := verdict(expr.VerdictReturn, "")
	tcp := equal(&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1}, unix.IPPROTO_TCP)
	icmp := equal(&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1}, unix.IPPROTO_ICMP)
	icmp6 := equal(&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1}, unix.IPPROTO_ICMPV6)
	local := func(key expr.MetaKey) []expr.Any {
		return equal(&expr.Meta{Key: key, Register: 1}, binary.NativeEndian.AppendUint32(nil, loopback)...)
	}
	// Between two sockets of this host both sides have the address. What a client
	// sends is refused on arrival; what a server sends is what has no port of those
	// that clients are given.
	clients := between(load(expr.PayloadBaseTransportHeader, 0, 2), ephemeral, 65535)
	servers := between(load(expr.PayloadBaseTransportHeader, 0, 2), 0, ephemeral-1)
	// Neighbors are told where the address is as long as it is there, as ARP does:
	// without that a reset would reach nobody.
	neighbor := between[uint8](load(expr.PayloadBaseTransportHeader, 0, 1), 135, 136)

	// A reset ends a session, or answers what was refused on this very host.
	rule(arriving, tcp, flag(tcpRST), back)
	// From a server here, and on its way when the fence closed.
	rule(arriving, local(expr.MetaKeyIIF), tcp, servers, makeReset(), back)
	rule(arriving, tcp, []expr.Any{&expr.Reject{Type: unix.NFT_REJECT_TCP_RST}})
	rule(arriving, icmp6, neighbor, back)
	rule(arriving, []expr.Any{&expr.Reject{Type: unix.NFT_REJECT_ICMPX_UNREACH, Code: unix.NFT_REJECT_ICMPX_PORT_UNREACH}})

	rule(leaving, local(expr.MetaKeyOIF), differ(&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1}, unix.IPPROTO_TCP), back)
	rule(leaving, local(expr.MetaKeyOIF), clients, back)
	rule(leaving, tcp, makeReset(), back)
	// Refusals of what is not TCP, and other errors.
	rule(leaving, icmp, equal(load(expr.PayloadBaseTransportHeader, 0, 1), 3), back)
	rule(leaving, icmp6, between[uint8](load(expr.PayloadBaseTransportHeader, 0, 1), 1, 127), back)
	rule(leaving, icmp6, neighbor, back)
	rule(leaving, verdict(expr.VerdictDrop, ""))
	return nil
}

// Flags of the TCP header (RFC 9293 section 3.1).
const (
	tcpRST = 0x04
	tcpACK = 0x10
)

// makeReset turns a TCP segment into a reset: of its flags only ACK stays.
func makeReset() []expr.Any {
	// The checksum is one of 16-bit words, so the byte before the flags is
	// rewritten with them.
	write := load(expr.PayloadBaseTransportHeader, 12, 2)
	read := *write
	write.OperationType, write.SourceRegister, write.DestRegister = expr.PayloadWrite, 1, 0
	write.CsumType, write.CsumOffset = expr.CsumTypeInet, 16
	return []expr.Any{
		&read,
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 2, Mask: []byte{0xff, tcpACK}, Xor: []byte{0, tcpRST}},
		write,
	}
}

// flag matches TCP segments that have one of the flags.
func flag(flags byte) []expr.Any {
	return []expr.Any{
		load(expr.PayloadBaseTransportHeader, 13, 1),
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 1, Mask: []byte{flags}, Xor: []byte{0}},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: []byte{0}},
	}
}

// load reads a part of the packet into register 1.
func load(base expr.PayloadBase, offset, length uint32) *expr.Payload {
	return &expr.Payload{DestRegister: 1, Base: base, Offset: offset, Len: length}
}

// equal matches what reads the data into register 1.
func equal(read expr.Any, data ...byte) []expr.Any {
	return []expr.Any{read, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: data}}
}

// differ matches what reads anything else into register 1.
func differ(read expr.Any, data ...byte) []expr.Any {
	return []expr.Any{read, &expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: data}}
}

// between matches what reads one of first to last into register 1.
func between[T uint8 | uint16](read expr.Any, first, last T) []expr.Any {
	bytes := func(v T) []byte { b, _ := binary.Append(nil, binary.BigEndian, v); return b } // no error for an integer
	return []expr.Any{
		read,
		&expr.Cmp{Op: expr.CmpOpGte, Register: 1, Data: bytes(first)},
		&expr.Cmp{Op: expr.CmpOpLte, Register: 1, Data: bytes(last)},
	}
}

func verdict(kind expr.VerdictKind, chain string) []expr.Any {
	return []expr.Any{&expr.Verdict{Kind: kind, Chain: chain}}
}
