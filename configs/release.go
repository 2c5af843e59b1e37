// SPDX-License-Identifier: Apache-2.0

package configs

// RunnableNow returns what the file asks for and this release cannot do yet, as
// Errors: lossless durability. Running the cluster with less than was written
// would be worse than not running it.
func (c *Config) RunnableNow() error {
	var errs Errors
	if c.Durability.Mode == Lossless {
		what := "this release cannot keep commits lossless yet"
		if !c.isWritten("durability.mode") {
			what = "not written, it means lossless, which this release cannot keep yet"
		}
		errs = append(errs, c.errorAt("durability.mode", what,
			"write durability: {mode: best-effort} if you accept that a failover can lose the last commits"))
	}
	errs.sort()
	return errs.err()
}
