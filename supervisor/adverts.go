// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"highwater/configs"
	"highwater/election"
	"highwater/election/vrrp"
	"highwater/election/vrrpnet"
)

// reopenDelay is the pause before a VRRP socket that broke is opened again: an interface that
// vanished comes back when its driver likes.
const reopenDelay = 500 * time.Millisecond

// adverts sends and receives VRRP advertisements: one virtual router per address family, as
// RFC 9568 has it, all with the same VRID and fate.
type adverts struct {
	routers []*advertiser
	sent    atomic.Uint64
	unsent  atomic.Uint64
	log     *slog.Logger
}

// advertiser is the virtual router of one family.
type advertiser struct {
	config vrrpnet.Config
	advert vrrp.Advertisement
	conn   atomic.Pointer[vrrpnet.Conn]

	mu       sync.Mutex
	accepted uint64 // by connections that were closed
	dropped  [vrrp.NumReasons]uint64
}

// retire closes a broken connection and keeps its counts.
func (r *advertiser) retire(conn vrrpnet.Conn) {
	r.conn.Store(nil)
	_ = conn.Close() // broken already
	r.mu.Lock()
	defer r.mu.Unlock()
	c := conn.Counters()
	r.accepted += c.Accepted
	for reason, count := range c.Dropped {
		r.dropped[reason] += count
	}
}

// counts returns what was accepted and dropped so far.
func (r *advertiser) counts() (accepted uint64, dropped [vrrp.NumReasons]uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	accepted, dropped = r.accepted, r.dropped
	if conn := r.conn.Load(); conn != nil {
		c := (*conn).Counters()
		accepted += c.Accepted
		for reason, count := range c.Dropped {
			dropped[reason] += count
		}
	}
	return accepted, dropped
}

// newAdverts prepares, and does not open, the virtual routers of the configured addresses.
func newAdverts(c *configs.Config, self *configs.Node, log *slog.Logger) (*adverts, error) {
	a := &adverts{log: log}
	for _, family := range []vrrpnet.Family{vrrpnet.IPv4, vrrpnet.IPv6} {
		var addrs []netip.Addr
		for _, p := range c.VIP.Addresses {
			if p.Addr().Is4() == (family == vrrpnet.IPv4) {
				addrs = append(addrs, p.Addr())
			}
		}
		if len(addrs) == 0 {
			continue
		}
		r := &advertiser{config: vrrpnet.Config{
			Interface: c.Election.Interface, Family: family, VRID: c.Election.VRID,
			Version: vrrp.Version(c.Election.Version), Exclude: addrs, Interval: c.Election.AdvertInterval,
		}}
		if c.Election.Checksum == configs.ChecksumRFC9568 {
			r.config.Checksum = vrrp.ChecksumRFC9568
		}
		for _, addr := range c.Election.AcceptFrom {
			if addr.Is4() == (family == vrrpnet.IPv4) {
				r.config.AcceptFrom = append(r.config.AcceptFrom, addr)
			}
		}
		if c.Election.Unicast {
			for _, node := range c.Cluster.Nodes {
				if node.Name != self.Name && !node.Witness && node.Address.Addr().Is4() == (family == vrrpnet.IPv4) {
					r.config.Peers = append(r.config.Peers, node.Address.Addr())
				}
			}
			r.config.Source = self.Address.Addr()
		}
		r.advert = vrrp.Advertisement{
			Version: vrrp.Version(c.Election.Version), VRID: c.Election.VRID,
			Interval: c.Election.AdvertInterval,
		}
		r.advert.SetAddresses(addrs)
		a.routers = append(a.routers, r)
	}
	return a, nil
}

// open opens every socket; the first error closes what was opened.
func (a *adverts) open(ctx context.Context) error {
	for _, r := range a.routers {
		conn, err := vrrpnet.Listen(ctx, r.config)
		if err != nil {
			a.close()
			return fmt.Errorf("open VRRP socket on %s: %w", r.config.Interface, err)
		}
		r.conn.Store(&conn)
	}
	return nil
}

func (a *adverts) close() {
	for _, r := range a.routers {
		if conn := r.conn.Load(); conn != nil {
			_ = (*conn).Close() // it sends nothing on close that could be lost
		}
	}
}

// sources are the addresses that the peers know this node's advertisements by.
func (a *adverts) sources() []netip.Addr {
	var list []netip.Addr
	for _, r := range a.routers {
		if conn := r.conn.Load(); conn != nil {
			list = append(list, (*conn).Source())
		}
	}
	return list
}

// source is the address that breaks ties between Active Routers.
func (a *adverts) source() netip.Addr {
	for _, r := range a.routers {
		if conn := r.conn.Load(); conn != nil {
			return (*conn).Source()
		}
	}
	return netip.Addr{}
}

// rejoin has every virtual router choose its source address anew.
func (a *adverts) rejoin() {
	for _, r := range a.routers {
		if conn := r.conn.Load(); conn != nil {
			if err := (*conn).Rejoin(); err != nil {
				a.log.Warn("advert.socket", "error", err)
			}
		}
	}
}

// send sends one advertisement of each virtual router. An error is counted and not returned:
// what an unsent advert does is what a lost one does.
func (a *adverts) send(priority uint8) {
	for _, r := range a.routers {
		conn := r.conn.Load()
		if conn == nil {
			a.unsent.Add(1)
			continue
		}
		advert := r.advert
		advert.Priority = priority
		if err := (*conn).Send(&advert); err != nil {
			a.unsent.Add(1)
			a.log.Debug("advert.unsent", "error", err)
			continue
		}
		a.sent.Add(1)
	}
}

// receive hands every valid advertisement of one virtual router to deliver, until ctx ends.
// A socket that breaks is opened again.
func (r *advertiser) receive(ctx context.Context, log *slog.Logger, deliver func(election.Advert)) {
	var p vrrpnet.Packet
	for ctx.Err() == nil {
		conn := r.conn.Load()
		if conn == nil {
			opened, err := vrrpnet.Listen(ctx, r.config)
			if err != nil {
				log.Warn("advert.socket", "error", err)
				sleep(ctx, reopenDelay)
				continue
			}
			r.conn.Store(&opened)
			conn = &opened
		}
		err := (*conn).Receive(&p)
		switch {
		case err == nil:
			deliver(election.Advert{
				Source: p.Source, Priority: p.Advertisement.Priority, Interval: p.Advertisement.Interval,
			})
		case ctx.Err() != nil:
			return
		case !errors.Is(err, net.ErrClosed):
			log.Warn("advert.socket", "error", err)
			fallthrough
		default:
			r.retire(*conn)
			sleep(ctx, reopenDelay)
		}
	}
}

// sleep waits for d or until ctx ends.
func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}
