// SPDX-License-Identifier: Apache-2.0

package election

import (
	"errors"
	"fmt"
	"time"
)

// Config is what a [Machine] needs to know of its cluster.
type Config struct {
	Node    string   // this node's name; one of Members
	Members []Member // every node, this one included, in the order of the configuration
	Router  RouterConfig

	Lease        time.Duration // vip.lease, whole seconds
	Linger       time.Duration // vip.linger
	WaitForLease bool          // promote.wait_for_lease
	Lossless     bool          // door 4 knows whose word is needed

	PushInterval   time.Duration // between two statuses to a peer
	GatherTimeout  time.Duration // promote.gather_timeout
	PromoteTimeout time.Duration // promote.timeout
	FenceTimeout   time.Duration // fencing.timeout
	VerdictMaxAge  time.Duration // older verdicts count as none
}

// Member is a node of the cluster.
type Member struct {
	Name       string
	Priority   uint8
	NoFailover bool
	Witness    bool
}

// Clock drift that every bound allows for, and the slack of the kernel's own timer: it
// counts a lease in seconds, and removes the address up to a second late when other addresses
// with lifetimes share the host (docs/design.md §6).
const (
	driftPercent = 10
	kernelGrain  = time.Second
	kernelSlack  = 500 * time.Millisecond
	fenceGrain   = 50 * time.Millisecond // nftables' timer, and a packet on its way
)

// LeaseEnds returns how long after a host's last renewal its VIP has surely gone, by
// anybody's clock.
func (c *Config) LeaseEnds() time.Duration {
	lease := (c.Lease + time.Second - 1).Truncate(time.Second)
	return (lease + kernelGrain + kernelSlack) * (100 + driftPercent) / 100
}

// FenceEnds is the same of a host with a session fence, whose sessions end with the lease itself
// although the kernel may carry the address longer.
func (c *Config) FenceEnds() time.Duration {
	return (c.Lease + fenceGrain) * (100 + driftPercent) / 100
}

// interval is the slower of the two heartbeats, VRRP's and the peer channel's.
func (c *Config) interval() time.Duration { return max(c.Router.AdvertInterval, c.PushInterval) }

// silence is the age at which a peer counts as silent on the peer channel: as many missed
// statuses as VRRP allows missed adverts.
func (c *Config) silence() time.Duration {
	return time.Duration(c.Router.DownTimerAdverts) * c.interval()
}

// audible is the age up to which a node says that it hears the primary when it is asked to
// forsake it. It is below silence, so that a candidate never hears it of the very silence
// that made it stand.
func (c *Config) audible() time.Duration { return c.silence() - c.interval()/2 }

func (c *Config) self() Member {
	for _, m := range c.Members {
		if m.Name == c.Node {
			return m
		}
	}
	return Member{}
}

func (c *Config) validate() error {
	var errs []error
	if c.self().Name == "" {
		errs = append(errs, fmt.Errorf("node %q is not a member", c.Node))
	}
	if c.Lease < time.Second {
		errs = append(errs, fmt.Errorf("lease %v is below the kernel's grain of 1s", c.Lease))
	}
	for _, d := range []struct {
		name string
		d    time.Duration
	}{
		{"advert interval", c.Router.AdvertInterval},
		{"push interval", c.PushInterval},
		{"gather timeout", c.GatherTimeout},
		{"promote timeout", c.PromoteTimeout},
		{"fence timeout", c.FenceTimeout},
		{"verdict age", c.VerdictMaxAge},
	} {
		if d.d <= 0 {
			errs = append(errs, fmt.Errorf("%s %v is not positive", d.name, d.d))
		}
	}
	return errors.Join(errs...)
}
