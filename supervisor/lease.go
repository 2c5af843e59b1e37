// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"context"
	"fmt"
	"time"
)

// kernelGrain is how long after the end of a lease the kernel may still carry the address
// (docs/design.md §6).
const kernelGrain = 1500 * time.Millisecond

// claim adds the addresses as a kernel lease and announces them.
func (n *Node) claim(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, addressTimeout)
	defer cancel()
	at := boottime()
	if err := n.addresses.Claim(ctx, n.config.VIP.Lease); err != nil {
		return err
	}
	n.date(at)
	return nil
}

// renew extends the lease; vip.ErrLost says that somebody removed the address.
func (n *Node) renew(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, addressTimeout)
	defer cancel()
	at := boottime()
	if err := n.addresses.Renew(ctx, n.config.VIP.Lease); err != nil {
		return err
	}
	n.date(at)
	return nil
}

// date records when the lease began, so that a later process knows its age.
func (n *Node) date(at time.Duration) {
	n.leaseEnd.Store(int64(at + n.config.VIP.Lease))
	n.saver.date(claimRecord{BootID: n.bootID, At: at, Term: n.loop.view.Load().Term})
}

// release removes the addresses and the sockets bound to them.
func (n *Node) release(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, addressTimeout)
	defer cancel()
	if err := n.addresses.Release(ctx); err != nil {
		return fmt.Errorf("release the VIP: %w", err)
	}
	n.leaseEnd.Store(0)
	return nil
}
