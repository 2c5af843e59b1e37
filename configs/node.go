// SPDX-License-Identifier: Apache-2.0

package configs

import (
	"fmt"
	"strings"
)

// Self returns the entry of this host: the one named by node or, without it,
// the one named like hostname, where either may be the short form of the other.
func (c *Config) Self(hostname string) (*Node, error) {
	if c.Node != "" {
		return c.node(c.Node, func(a, b string) bool { return a == b }), nil // validated
	}
	if n := c.node(hostname, strings.EqualFold); n != nil {
		return n, nil
	}
	if n := c.node(hostname, sameHost); n != nil {
		return n, nil
	}
	return nil, c.errorAt("cluster.nodes",
		fmt.Sprintf("no node is named like this host, %s", shown(hostname)),
		"name one so, or write node: with one of: "+strings.Join(c.names(), ", "))
}

// node returns the only node whose name is the same as name, or nil.
func (c *Config) node(name string, same func(a, b string) bool) *Node {
	var found *Node
	for i := range c.Cluster.Nodes {
		if !same(c.Cluster.Nodes[i].Name, name) {
			continue
		}
		if found != nil {
			return nil
		}
		found = &c.Cluster.Nodes[i]
	}
	return found
}

// sameHost compares host names of which one may lack its domain.
func sameHost(a, b string) bool {
	shortA, domainA, _ := strings.Cut(a, ".")
	shortB, domainB, _ := strings.Cut(b, ".")
	return strings.EqualFold(shortA, shortB) && (domainA == "" || domainB == "")
}

func (c *Config) names() []string {
	var names []string
	for _, n := range c.Cluster.Nodes {
		names = append(names, n.Name)
	}
	return names
}

// ReplicationAddress returns where other hosts replicate from node n.
func (c *Config) ReplicationAddress(n *Node) (host string, port uint16) {
	if n.MySQL != "" {
		host, port, _ := splitHostPort(n.MySQL) // validated
		return host, port
	}
	return n.Address.Addr().String(), c.MySQL.Port
}

// UserFor returns the account with which the server of the named node
// replicates.
func (r Replication) UserFor(node string) string {
	return strings.ReplaceAll(r.User, nodePlaceholder, node)
}

// voters returns how many nodes would vote in a quorum: all of them.
func (c *Config) voters() int { return len(c.Cluster.Nodes) }

// servers returns how many nodes have a MySQL server.
func (c *Config) servers() int {
	n := 0
	for _, node := range c.Cluster.Nodes {
		if !node.Witness {
			n++
		}
	}
	return n
}
