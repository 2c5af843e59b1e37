// SPDX-License-Identifier: Apache-2.0

package supervisor

import "net"

// linkUp reports whether an interface is up and has a carrier, for the moment before the
// watch has spoken.
func linkUp(name string) bool {
	i, err := net.InterfaceByName(name)
	return err == nil && i.Flags&net.FlagUp != 0 && i.Flags&net.FlagRunning != 0
}
