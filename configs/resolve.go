// SPDX-License-Identifier: Apache-2.0

package configs

import "time"

// resolve fills in the defaults that depend on other keys.
func (c *Config) resolve() {
	if !c.isWritten("election.advert_interval") && c.Election.Version == 2 {
		c.Election.AdvertInterval = time.Second // version 2 has no shorter one
	}
	if c.VIP.Interface == "" {
		c.VIP.Interface = c.Election.Interface
	}
	if len(c.Election.AcceptFrom) == 0 {
		for _, n := range c.Cluster.Nodes {
			c.Election.AcceptFrom = append(c.Election.AcceptFrom, n.Address.Addr())
		}
	}
	if c.Durability.Mode == Lossless && c.Durability.WhenAlone == "" {
		c.Durability.WhenAlone = WhenAloneStall
		// With two servers, stalling would stop every write when either is
		// lost; the witness keeps the record of who went on alone.
		if c.servers() == 2 && c.Authority() == AuthorityQuorum {
			c.Durability.WhenAlone = WhenAloneContinue
		}
	}
	if c.Durability.Rejoin == "" {
		c.Durability.Rejoin = RejoinHold
		if c.Durability.Mode == Lossless {
			c.Durability.Rejoin = RejoinAuto
		}
	}
	if c.MySQL.Port == 0 {
		c.MySQL.Port = DefaultMySQLPort
		if _, port, err := splitHostPort(c.MySQL.Address); err == nil {
			c.MySQL.Port = port
		}
	}
	if c.Fencing.KillServer == nil {
		kill := c.Authority() == AuthorityQuorum
		c.Fencing.KillServer = &kill
	}
}

// Authority returns AuthorityVRRP or AuthorityQuorum: election.authority with
// auto decided, which is a quorum when three or more voters are listed.
func (c *Config) Authority() string {
	switch {
	case c.Election.Authority != AuthorityAuto:
		return c.Election.Authority
	case c.voters() >= 3:
		return AuthorityQuorum
	default:
		return AuthorityVRRP
	}
}
