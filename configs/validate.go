// SPDX-License-Identifier: Apache-2.0

package configs

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// validator looks for combinations of keys that cannot work.
type validator struct {
	*Config
	unread []string // paths of values that are not known
	errs   Errors
}

// validate returns the impossible combinations and collects warnings. A rule
// about a value at one of the unread paths would only repeat what decoding said.
func (c *Config) validate(unread []string) Errors {
	v := &validator{Config: c, unread: unread}
	v.checkNames()
	v.checkIdentity()
	v.checkNodes()
	v.checkAuthority()
	v.checkElection()
	v.checkVIP()
	v.checkTiming()
	v.checkDurability()
	v.checkMySQL()
	v.checkReplication()
	v.checkFencing()
	v.checkPromote()
	v.checkWeb()
	return v.errs
}

func (v *validator) refuse(path, what, instead string) {
	v.errs = append(v.errs, v.errorAt(path, what, instead))
}

func (v *validator) warn(path, what, instead string) {
	v.Warnings = append(v.Warnings, v.errorAt(path, what, instead))
}

// sound reports whether the keys, what is below them and what they are part of
// could be read.
func (v *validator) sound(paths ...string) bool {
	for _, u := range v.unread {
		for _, p := range paths {
			if u == p || isBelow(u, p) || isBelow(p, u) {
				return false
			}
		}
	}
	return true
}

func isBelow(path, ancestor string) bool {
	rest, ok := strings.CutPrefix(path, ancestor)
	return ok && rest != "" && (rest[0] == '.' || rest[0] == '[')
}

// checkNames requires that names and addresses tell the nodes apart.
func (v *validator) checkNames() {
	for i, n := range v.Cluster.Nodes {
		for j, other := range v.Cluster.Nodes[:i] {
			same := func(key, what string, equal bool) {
				if path := join(nodePath(i), key); equal && v.sound(path, join(nodePath(j), key)) {
					v.refuse(path, "nodes "+strconv.Itoa(j+1)+" and "+strconv.Itoa(i+1)+" have the same "+what, "give each its own")
				}
			}
			same("name", "name", strings.EqualFold(n.Name, other.Name))
			same("address", "address and port", n.Address == other.Address)
			same("mysql", "server", n.MySQL != "" && n.MySQL == other.MySQL)
		}
	}
	if v.Node != "" && v.sound("node", "cluster.nodes") && v.node(v.Node, func(a, b string) bool { return a == b }) == nil {
		instead := "write one of: " + strings.Join(v.names(), ", ")
		if meant := nearest(v.Node, v.names()); meant != "" {
			instead = "did you mean " + meant + "?"
		}
		v.refuse("node", fmt.Sprintf("no node is named %s", shown(v.Node)), instead)
	}
}

func nodePath(i int) string { return fmt.Sprintf("cluster.nodes[%d]", i) }

// checkIdentity requires exactly one way to know the other supervisors.
func (v *validator) checkIdentity() {
	c := v.Cluster
	if !v.sound("cluster.secret_file", "cluster.secret_env", "cluster.cert_file", "cluster.key_file", "cluster.ca_file", "cluster.secret") {
		return
	}
	certificates := c.CertFile != "" || c.KeyFile != "" || c.CAFile != ""
	switch {
	case c.SecretFile != "" && c.SecretEnv != "":
		v.refuse("cluster.secret_env", "secret_file is written too", "keep one of the two")
	case certificates && (c.SecretFile != "" || c.SecretEnv != ""):
		v.refuse("cluster", "there is a secret and there are certificates", "keep the secret, or cert_file, key_file and ca_file")
	case certificates && (c.CertFile == "" || c.KeyFile == "" || c.CAFile == ""):
		v.refuse("cluster", "cert_file, key_file and ca_file go together", "write all three, or secret_file instead")
	case !certificates && c.SecretFile == "" && c.SecretEnv == "":
		v.refuse("cluster", "the supervisors have no secret to know each other by", "write secret_file: /etc/highwater/secret")
	}
}

// checkNodes looks at what each node is for.
func (v *validator) checkNodes() {
	if !v.sound("cluster.nodes") {
		return
	}
	candidates := 0
	for i, n := range v.Cluster.Nodes {
		path := nodePath(i)
		for _, key := range []string{"priority", "nofailover", "mysql"} {
			if n.Witness && v.isWritten(join(path, key)) {
				v.refuse(join(path, key), "a witness has no server, so this means nothing", "remove it, or witness")
			}
		}
		if n.Witness || n.NoFailover {
			continue
		}
		candidates++
		for _, other := range v.Cluster.Nodes[:i] {
			if n.Priority == other.Priority && !other.Witness && !other.NoFailover {
				v.warn(path, fmt.Sprintf("node %s has priority %d too: the higher address decides between them", other.Name, n.Priority),
					"give each its own priority, to see from the file who comes first")
				break
			}
		}
	}
	switch {
	case v.servers() == 0:
		v.refuse("cluster.nodes", "all nodes are witnesses: there is no server", "list the hosts that have one")
	case candidates == 0:
		v.refuse("cluster.nodes", "all servers are nofailover: none may become primary", "remove nofailover from at least one")
	case v.servers() == 1:
		v.warn("cluster.nodes", "there is one server: nothing can take over from it", "list at least two")
	}
}

// checkAuthority compares the authority with the nodes that are to vote.
func (v *validator) checkAuthority() {
	if !v.sound("cluster.nodes", "election.authority") {
		return
	}
	voters := v.voters()
	if v.Authority() == AuthorityVRRP {
		if v.isWritten("election.hold_off") {
			v.warn("election.hold_off", "under VRRP alone there is no record that all hosts share, so this does nothing",
				"remove it, or have three voters and a quorum")
		}
		for i, n := range v.Cluster.Nodes {
			if n.Witness {
				v.refuse(nodePath(i)+".witness", "under VRRP alone nobody votes, so a witness does nothing",
					"remove the node, or have three nodes and a quorum")
			}
		}
		return
	}
	if voters < 3 {
		v.refuse("election.authority", fmt.Sprintf("a quorum needs three voters, and %s listed", countAre(voters)),
			"add a node (a witness will do), or write authority: vrrp")
	} else if voters%2 == 0 {
		v.warn("cluster.nodes", fmt.Sprintf("%d voters survive the loss of %d, as %d would", voters, (voters-1)/2, voters-1),
			"add or remove one; a witness counts")
	}
}

func countAre(n int) string {
	if n == 1 {
		return "1 is"
	}
	return fmt.Sprintf("%d are", n)
}

// checkElection holds the VRRP instance to what its version can say.
func (v *validator) checkElection() {
	e := v.Election
	if !v.sound("election.version") {
		return
	}
	if v.sound("election.advert_interval") {
		switch {
		case e.Version == 2 && e.AdvertInterval%time.Second != 0:
			v.refuse("election.advert_interval", formatDuration(e.AdvertInterval)+" cannot be said in VRRP version 2",
				"write whole seconds, or version: 3")
		case e.Version == 3 && e.AdvertInterval > maxInterval3:
			v.refuse("election.advert_interval", formatDuration(e.AdvertInterval)+" cannot be said in VRRP version 3",
				"write "+formatDuration(maxInterval3)+" or less")
		}
	}
	if e.Version == 2 && v.isWritten("election.checksum") {
		v.refuse("election.checksum", "VRRP version 2 has one checksum only", "remove it, or write version: 3")
	}
	if !v.sound("vip.addresses") {
		return
	}
	families := map[string]bool{}
	for i, vip := range v.VIP.Addresses {
		families[familyName(vip.Addr())] = true
		if e.Version == 2 && !vip.Addr().Is4() {
			v.refuse(vipPath(i), "VRRP version 2 carries IPv4 addresses only", "write version: 3")
		}
	}
	if len(families) == 0 {
		return
	}
	if e.Unicast && v.sound("cluster.nodes") {
		for i, n := range v.Cluster.Nodes {
			if family := familyName(n.Address.Addr()); !families[family] && !n.Witness {
				v.refuse(nodePath(i)+".address", "unicast adverts go here, and no VIP is "+family,
					"write an address of the VIPs' family, or remove election.unicast")
			}
		}
	}
	if !families["IPv4"] && !e.Unicast && !v.isWritten("election.accept_from") {
		v.warn("election", "adverts for IPv6 come from link-local addresses, and accept_from is not written",
			"write accept_from with the nodes' link-local addresses")
	}
}

// maxInterval3 is 12 bits of centiseconds, RFC 9568 §5.2.7.
const maxInterval3 = 40950 * time.Millisecond

func vipPath(i int) string { return fmt.Sprintf("vip.addresses[%d]", i) }

// checkVIP compares the virtual addresses with each other, with the hosts' own
// and with their interface.
func (v *validator) checkVIP() {
	if !v.sound("vip.addresses") {
		return
	}
	for i, vip := range v.VIP.Addresses {
		for _, other := range v.VIP.Addresses[:i] {
			if vip.Addr() == other.Addr() {
				v.refuse(vipPath(i), fmt.Sprintf("%s is listed twice", vip.Addr()), "remove one of the two")
			}
		}
		if !vip.IsSingleIP() {
			v.warn(vipPath(i), fmt.Sprintf("%s brings a route to its whole network, which leaves with the VIP", vip),
				"write "+hostPrefix(vip.Addr()).String())
		}
	}
	if v.sound("cluster.nodes") {
		for i, n := range v.Cluster.Nodes {
			if v.isVIP(n.Address.Addr()) {
				v.refuse(nodePath(i)+".address", "this is a VIP, which moves between nodes", "write the host's own address")
			}
			if n.MySQL != "" && v.isVIPHost(n.MySQL) {
				v.refuse(nodePath(i)+".mysql", "this is a VIP, which moves between nodes", "write the host's own address")
			}
		}
	}
	if v.sound("mysql.address") && v.isVIPHost(v.MySQL.Address) {
		v.refuse("mysql.address", "this is a VIP, which moves between nodes", "write the server's socket, or 127.0.0.1 and its port")
	}
	if v.sound("vip.label", "vip.interface", "election.interface") && !strings.HasPrefix(v.VIP.Label, v.VIP.Interface) && v.VIP.Label != "" {
		v.refuse("vip.label", fmt.Sprintf("%s does not begin with %s, which the kernel's tools require", shown(v.VIP.Label), shown(v.VIP.Interface)),
			"write one such as "+v.VIP.Interface+":vip")
	}
}

// isVIPHost reports whether the host of host:port is a VIP.
func (v *validator) isVIPHost(address string) bool {
	host, _, err := splitHostPort(address)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && v.isVIP(ip)
}
