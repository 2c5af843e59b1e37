// SPDX-License-Identifier: Apache-2.0

package configs

// RunnableNow returns what the file asks for and this release cannot do yet, as
// Errors: lossless durability without a quorum. Running the cluster with less
// than was written would be worse than not running it.
func (c *Config) RunnableNow() error {
	var errs Errors
	if c.Durability.Mode == Lossless && c.Authority() == AuthorityVRRP {
		what := "this release keeps commits lossless with a quorum only, and the authority is vrrp"
		if !c.isWritten("durability.mode") {
			what = "not written, it means lossless, which this release keeps with a quorum only, and the authority is vrrp"
		}
		quorum := "write election: {authority: quorum}"
		if c.voters() < 3 {
			quorum = "add a third node (a witness will do) for a quorum"
		}
		errs = append(errs, c.errorAt("durability.mode", what,
			quorum+", or durability: {mode: best-effort} if you accept that a failover can lose the last commits"))
	}
	errs.sort()
	return errs.err()
}
