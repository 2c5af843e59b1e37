// SPDX-License-Identifier: Apache-2.0

package configs

import (
	"fmt"
	"net/netip"
)

// CheckInterface compares the VIPs with the addresses of vip.interface, which
// may include VIPs that are held. Errors are VIPs that cannot work there,
// warnings those that the interface's own network does not reach.
func (c *Config) CheckInterface(addresses []netip.Prefix) (errs, warnings Errors) {
	for i, vip := range c.VIP.Addresses {
		path := vipPath(i)
		family, hasFamily, inSubnet := familyName(vip.Addr()), false, false
		for _, own := range addresses {
			if c.isVIP(own.Addr()) {
				continue
			}
			hasFamily = hasFamily || own.Addr().Is4() == vip.Addr().Is4()
			inSubnet = inSubnet || own.Contains(vip.Addr())
		}
		switch {
		case !hasFamily:
			errs = append(errs, c.errorAt(path,
				fmt.Sprintf("%s is %s, and interface %s has no %s address", vip, family, c.VIP.Interface, family),
				"give the interface one, or write another vip.interface or VIP"))
		case !inSubnet:
			warnings = append(warnings, c.errorAt(path,
				fmt.Sprintf("%s is in no subnet of interface %s", vip, c.VIP.Interface),
				"check the address; hosts of that network find it only by a route"))
		}
	}
	return errs, warnings
}

func (c *Config) isVIP(ip netip.Addr) bool {
	for _, vip := range c.VIP.Addresses {
		if vip.Addr() == ip {
			return true
		}
	}
	return false
}

func familyName(ip netip.Addr) string {
	if ip.Is4() {
		return "IPv4"
	}
	return "IPv6"
}
