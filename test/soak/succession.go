// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"highwater/test/cluster"
	"highwater/test/lab"
)

// successions are two faults in a row: the second hits while the first lasts.
var successions = []scenario{
	at("killed-then-successor-killed", "the primary's server is killed and, a second after another one took over, that one's too", long,
		func(ctx context.Context, c *cluster.Cluster, p *lab.Host) (mend, error) {
			p.Server.Kill()
			next, err := successor(ctx, c, p)
			if err != nil {
				return nil, err
			}
			next.Server.Kill()
			return nil, nil
		}),
	at("off-then-successor-off", "the primary loses its power and, a second after another one took over, that one too", long,
		func(ctx context.Context, c *cluster.Cluster, p *lab.Host) (mend, error) {
			if err := p.PowerOff(); err != nil {
				return nil, err
			}
			next, err := successor(ctx, c, p)
			if err != nil {
				return powered(c, p), err
			}
			return powered(c, next, p), next.PowerOff()
		}),
	at("cut-then-successor-killed", "the primary is cut off and, a second after another one took over, that one's server is killed", long,
		func(ctx context.Context, c *cluster.Cluster, p *lab.Host) (mend, error) {
			end, err := heal(c.Partition([]*lab.Host{p}, rest(c, p)))
			if err != nil {
				return nil, err
			}
			next, err := successor(ctx, c, p)
			if err != nil {
				return end, err
			}
			next.Server.Kill()
			return end, nil
		}),
	at("replica-killed-then-primary", "the server of a replica is killed and, when the others do without it, the primary's", long,
		func(ctx context.Context, c *cluster.Cluster, p *lab.Host) (mend, error) {
			others(c, p)[0].Server.Kill()
			pause(ctx, 6*time.Second)
			p.Server.Kill()
			return nil, nil
		}),
	at("replica-and-primary-killed", "the servers of a replica and of the primary are killed at once", long,
		func(_ context.Context, c *cluster.Cluster, p *lab.Host) (mend, error) {
			others(c, p)[0].Server.Kill()
			p.Server.Kill()
			return nil, nil
		}),
}

// powered switches hosts on again, in this order.
func powered(c *cluster.Cluster, hosts ...*lab.Host) mend {
	return func(ctx context.Context) error {
		var errs []error
		for _, h := range hosts {
			errs = append(errs, powerOn(ctx, c, h))
		}
		return errors.Join(errs...)
	}
}

// successionLimit is how long a fault of the primary waits for its successor.
const successionLimit = 20 * time.Second

// successor waits until another host has been primary for a second.
func successor(ctx context.Context, c *cluster.Cluster, old *lab.Host) (*lab.Host, error) {
	ctx, cancel := context.WithTimeout(ctx, successionLimit)
	defer cancel()
	for ; ctx.Err() == nil; pause(ctx, 50*time.Millisecond) {
		for _, h := range others(c, old) {
			s, err := c.Status(ctx, h)
			if err == nil && s.Primary == h.Name() && s.Host(h.Name()).Role == "primary" && s.Host(h.Name()).VIPHeld {
				pause(ctx, time.Second)
				return h, nil
			}
		}
	}
	return nil, fmt.Errorf("nobody took over from %s within %v", old, successionLimit)
}
