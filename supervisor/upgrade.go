// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"context"
	"errors"
	"fmt"

	"highwater/configs"
	"highwater/election"
)

// errNoSuccessor refuses an upgrade where nobody can say what would run next.
var errNoSuccessor = errors.New("this process cannot be replaced")

// mayUpgrade looks at the program that would take this process over, and returns its version or
// why it may not. Nothing has changed when it returns.
func (n *Node) mayUpgrade(ctx context.Context) (version string, err error) {
	if n.successor == nil {
		return "", errNoSuccessor
	}
	if version, err = n.successor(ctx); err != nil {
		return "", err
	}
	if n.rebuilding.Load() {
		return "", errRebuilding
	}
	switch role := n.loop.view.Load().Role; role {
	case election.RoleStarting, election.RoleReplica, election.RolePrimary, election.RoleHeld:
		return version, nil
	default: // it would be cut off in the middle, and a lease that nobody renews just now might end
		return "", fmt.Errorf("a move of the role is under way: this node is %s", role)
	}
}

// beginUpgrade has this process end for its successor, unless it may not.
func (n *Node) beginUpgrade(ctx context.Context, progress func(string)) error {
	version, err := n.mayUpgrade(ctx)
	if err != nil {
		n.log.Error("upgrade.refused", "error", err)
		return err
	}
	n.log.Info("upgrade", "from", n.version, "to", version)
	progress(fmt.Sprintf("%s accepts the configuration and takes over from %s", version, n.version))
	n.upgrading.Store(true)
	return nil
}

// Upgrading reports whether [Node.Run] ended for another program to take this process over: by an
// order to upgrade, and no order to end beside it.
func (n *Node) Upgrading() bool { return n.upgrading.Load() && !n.ending.Load() }

// Acceptable says what [New] would refuse by the configuration and the files that it names,
// whatever host and server are like.
func Acceptable(c *configs.Config, self *configs.Node, secrets configs.Secrets) error {
	_, err := identity(c.Cluster, self, secrets)
	errs := []error{err, webConfigFile(c)}
	if !self.Witness {
		_, err = serverConn(c, secrets)
		errs = append(errs, err)
	}
	_, err = election.New(MachineConfig(c, self, self.Address.Addr()), Authority(c))
	return errors.Join(append(errs, err)...)
}
