// SPDX-License-Identifier: Apache-2.0

package promote

import (
	"context"
	"slices"
)

// Prepare makes the server hold everything that a promotion with this input
// would have it hold: the steps of its plan up to StepFetch, and no more. The
// server stays read-only. A new primary must hold everything before its term is
// committed, because a relay log can vanish (docs/design.md §5); so [Server.Promote]
// with the same input comes after that, and finds little left to do.
//
// What holds for Promote holds for it: the promise, the deadline, the errors. Of
// the result only Steps and Executed are set, the latter to where the server
// stands now.
func (s *Server) Prepare(ctx context.Context, in PromoteInput) (Result, error) {
	ctx, r, end, err := s.beginPromotion(ctx, "prepare promotion", in)
	if err != nil {
		return Result{}, err
	}
	defer end()
	plan := slices.DeleteFunc(r.plan(), func(step StepName) bool { return !step.prepares() })
	if err := r.run(ctx, plan); err != nil {
		return r.result, err
	}
	r.result.Executed = r.target
	return r.result, nil
}
