// SPDX-License-Identifier: Apache-2.0

// Package vip carries the virtual IP addresses of this host: desired state in,
// actual state out (docs/design.md §2 and §6).
//
// # The address is a lease
//
// Claim adds every address with a valid lifetime, and Renew extends it. When
// nobody renews, because the supervisor is frozen, killed or deadlocked, the
// kernel removes the address by itself. The kernel counts lifetimes in whole
// seconds and keeps its clock with the machine's ticks, so two more rules hold
// here: Renew refuses to extend a lease that CLOCK_BOOTTIME says is over, even
// if the kernel has not removed the address yet; and a renewal that reached the
// kernel after the address had expired, and so created it anew, is taken back.
//
// With a session fence (below) the lease is precise to the tick.
//
// Every write is read back. An error of Claim means that none of the addresses
// is left, an error of Release names what is. Release has priority: it overtakes
// a Claim, a Renew and every announcement under way, and it goes on in the
// background when its caller stops waiting.
//
// # Not a source address
//
// Connections that this host opens must not carry a VIP: they would be cut when
// it moves. IPv6 addresses are therefore added with preferred lifetime 0, which
// makes them deprecated (RFC 4862 section 5.5.4), and IPv4 addresses with a full
// length prefix get scope host, which keeps them out of the kernel's choice for
// routes without a preferred source. Scope says nothing about who may connect
// to the address. An IPv4 address with a shorter prefix takes scope global, since
// the kernel refuses two scopes within one subnet.
//
// # Sessions
//
// An established TCP session outlives its address and resumes, silently, when
// the address comes back. Release therefore destroys every TCP socket that is
// bound to one of the addresses (SOCK_DESTROY, what `ss -K` does), whether or not
// the process that owns it is able to run. Listening sockets stay: they carry no
// session, and destroying one would leave a server without its listener after
// the address returns.
//
// The order is: destroy, remove the address, destroy what came in between.
// Linux sends the reset of a destroyed IPv4 socket only while the source address
// is still local; after the removal the client would be told nothing, and one
// that waits for an answer sends nothing either and waits for its keepalive.
// The first pass is bounded by a few tens of milliseconds, and the removal does
// not depend on it.
//
// # The session fence
//
// Seconds are coarse, and a session does not notice that its address is gone. Where
// nftables are to be had (Config.SessionFence), a table of family inet, named after
// the interface and Config.Instance, is a second dead-man's switch: it rejects
// packets of the addresses unless they are in one of two sets whose elements time
// out. A Claim opens it before the first address is there, each Renew opens it for
// exactly the lease, and Release closes it before anything else. When nobody
// renews, it closes within the last tick of the lease (measured: 0 to 6 ms before
// its end, and a millisecond after it under load), while the kernel's own removal
// is up to 1.06 s late.
//
// Clients are told at once. What arrives over TCP is answered with a reset, what is
// not TCP with port unreachable; and what the server still sends is turned into a
// reset on its way out, so that a client that waits for an answer is told as well
// and learns nothing that the server says too late. (Measured: with a rule that
// drops or rejects what leaves, no client was told within two seconds, since the
// resets leave that way too; with none, one more answer passed.) Local clients are
// told alike, as far as their ports tell them from servers. Neighbor discovery
// goes on, like ARP. Only packets that have one of the addresses and begin or end on
// this host are looked at: a host whose fence is closed may be a client of, or a
// router to, the host that has the address. Not cut is what the host translates to
// another address before it is delivered, such as to a container.
//
// Somebody else's "nft flush ruleset" takes the fence away, and blocks nothing. The
// next Renew reads the rules back, puts them in place and counts that; until then
// the lease has the kernel's precision.
//
// A fence without a process is closed when its lease is over, and stays so: the
// next Claim replaces it, in one transaction that no session notices. Close removes
// it, unless an address is still here, which then keeps its lease. After a
// kill, and no start after that, it is left behind; it matters only if the host
// gets the same address in another way, and is removed by, for example,
//
//	nft delete table inet highwater_eth0_51
//
// # Announcements
//
// Gratuitous ARP as request and as reply by turns, because devices differ in
// which of the two they believe, and unsolicited Neighbor Advertisements, in
// bursts and then as a slow refresh. The first frames leave before Claim returns.
// No frame leaves after Release has returned.
package vip
