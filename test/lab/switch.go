// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"fmt"
	"net"
	"os/exec"
	"strings"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// lan is the switch: a bridge in a network namespace of its own, with one port, named like the host, for each host.
type lan struct {
	namespaces *namespaces

	mu     sync.Mutex
	faults []*Fault // in the order in which they were made
}

const bridgeName = "switch"

func newLAN() (*lan, error) {
	s := &lan{namespaces: &namespaces{}}
	err := inside(nil, func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("make a network namespace: %w", err)
		}
		if err := s.namespaces.open("/proc/thread-self/ns/net", unix.CLONE_NEWNET); err != nil {
			return err
		}
		attrs := netlink.NewLinkAttrs()
		attrs.Name = bridgeName
		// Snooping would forward multicast only to those who joined, which real switches often get wrong for VRRP;
		// that is not what is tested here.
		off := false
		bridge := &netlink.Bridge{LinkAttrs: attrs, MulticastSnooping: &off}
		if err := netlink.LinkAdd(bridge); err != nil {
			return fmt.Errorf("make the switch: %w", err)
		}
		if err := netlink.LinkSetUp(bridge); err != nil {
			return fmt.Errorf("make the switch: %w", err)
		}
		return nil
	})
	if err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// plugIn makes a port with a cable to a new interface in the host's network namespace.
func (s *lan) plugIn(port string, mac net.HardwareAddr, hostNetns int) error {
	return inside(s.namespaces, func() error {
		bridge, err := netlink.LinkByName(bridgeName)
		if err != nil {
			return fmt.Errorf("find the switch: %w", err)
		}
		attrs := netlink.NewLinkAttrs()
		attrs.Name = port
		attrs.MasterIndex = bridge.Attrs().Index
		cable := &netlink.Veth{LinkAttrs: attrs, PeerName: Interface, PeerHardwareAddr: mac, PeerNamespace: netlink.NsFd(hostNetns)}
		if err := netlink.LinkAdd(cable); err != nil {
			return fmt.Errorf("plug in %s: %w", port, err)
		}
		if err := netlink.LinkSetUp(cable); err != nil {
			return fmt.Errorf("plug in %s: %w", port, err)
		}
		return nil
	})
}

// pullOut removes a port, cable and interface included, at once.
func (s *lan) pullOut(port string) error {
	return s.onPort(port, netlink.LinkDel)
}

// setPort takes a port down or up; the host's interface loses its carrier with it.
func (s *lan) setPort(port string, up bool) error {
	if up {
		return s.onPort(port, netlink.LinkSetUp)
	}
	return s.onPort(port, netlink.LinkSetDown)
}

func (s *lan) onPort(port string, fn func(netlink.Link) error) error {
	return inside(s.namespaces, func() error {
		link, err := netlink.LinkByName(port)
		if err != nil {
			return fmt.Errorf("find port %s: %w", port, err)
		}
		if err := fn(link); err != nil {
			return fmt.Errorf("change port %s: %w", port, err)
		}
		return nil
	})
}

// apply makes the switch drop what the present faults say. The table is replaced in one transaction.
func (s *lan) apply() error {
	var script strings.Builder
	script.WriteString("table bridge lab\ndelete table bridge lab\ntable bridge lab {\n" +
		"\tchain forward {\n\t\ttype filter hook forward priority 0; policy accept;\n")
	for _, f := range s.faults {
		for _, rule := range f.rules {
			script.WriteString("\t\t" + rule + "\n")
		}
	}
	script.WriteString("\t}\n}\n")
	return inside(s.namespaces, func() error {
		nft, err := systemCommand(context.Background(), "nft", "-f", "-")
		if err != nil {
			return err
		}
		nft.Stdin = strings.NewReader(script.String())
		if out, err := nft.CombinedOutput(); err != nil {
			return fmt.Errorf("set the switch's rules: %w: %s", err, out)
		}
		return nil
	})
}

func (s *lan) close() { s.namespaces.close() }

// systemCommand finds a program where administrators have it, whatever the PATH.
func systemCommand(ctx context.Context, name string, args ...string) (*exec.Cmd, error) {
	for _, dir := range []string{"/usr/sbin/", "/sbin/", "/usr/bin/", "/bin/"} {
		if path, err := exec.LookPath(dir + name); err == nil {
			return exec.CommandContext(ctx, path, args...), nil
		}
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return nil, fmt.Errorf("find %s: %w (test/lab/setup.sh installs what the lab calls)", name, err)
	}
	return exec.CommandContext(ctx, path, args...), nil
}
