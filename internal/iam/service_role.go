package iam

import (
	"cmp"
	"fmt"

	"spoor/internal/policy"
)

// ServiceUse is a service that acts with a role of its user, on behalf of a
// resource: CloudTrail, which writes to a log group for a trail.
type ServiceUse struct {
	Service       string // "cloudtrail.amazonaws.com"
	SourceARN     string // of the resource
	SourceAccount string // its account
}

// ServiceMayAssume reports whether a role exists and its trust policy lets a
// service assume it (IAM user guide, "The confused deputy problem").
func (d *Directory) ServiceMayAssume(roleARN string, use ServiceUse) (bool, error) {
	role, ok := d.RoleByARN(roleARN)
	if !ok {
		return false, nil
	}
	trust, err := d.docs.get(role.Trust, policy.Resource)
	if err != nil {
		return false, fmt.Errorf("the trust policy of %s: %w", roleARN, err)
	}
	dec := policy.Evaluate(&policy.Request{
		Principal: policy.Principal{Service: use.Service}, Action: "sts:AssumeRole", Resource: roleARN,
		Context: policy.Values{
			"aws:sourcearn": {use.SourceARN}, "aws:sourceaccount": {use.SourceAccount}, "aws:principalisawsservice": {"true"},
			"aws:principalservicename": {use.Service}, "aws:securetransport": {"true"}, "aws:resourceaccount": {role.Account},
		},
	}, &policy.Input{Resource: trust, ResourceAccount: role.Account, Trust: true})
	return dec.Allowed, nil
}

// RoleUse is what a service does with a role.
type RoleUse struct {
	Action, Resource string
	// ServiceUse says for whom; policies of roles for services ask for that
	// (aws:SourceArn, aws:SourceAccount).
	ServiceUse
	// Owner is the resource's account, "" for the role's own; Document is the
	// resource's policy, or "".
	Owner, Document string
}

// RoleMay reports whether the policies of a role, within its boundary and
// together with the resource's, allow what a service does with it.
func (d *Directory) RoleMay(roleARN string, use RoleUse) (bool, error) {
	role, ok := d.RoleByARN(roleARN)
	if !ok {
		return false, nil
	}
	a := d.account(role.Account)
	r := a.roleByID(role.ID)
	if r == nil {
		return false, nil // removed just now
	}
	owner := cmp.Or(use.Owner, role.Account)
	in := policy.Input{Identity: d.grantPolicies(a, &r.grants, nil), Boundary: d.boundaryPolicy(a, r.Boundary), ResourceAccount: owner}
	if use.Document != "" {
		var err error
		if in.Resource, err = d.docs.get(use.Document, policy.Resource); err != nil {
			return false, fmt.Errorf("the policy of %s: %w", use.Resource, err)
		}
	}
	ctx := policy.Values{
		"aws:principalarn": {roleARN}, "aws:principalaccount": {role.Account}, "aws:principaltype": {"AssumedRole"},
		"aws:securetransport": {"true"}, "aws:resourceaccount": {owner},
	}
	if use.SourceARN != "" {
		ctx["aws:sourcearn"], ctx["aws:sourceaccount"] = []string{use.SourceARN}, []string{use.SourceAccount}
	}
	dec := policy.Evaluate(&policy.Request{
		Principal: policy.Principal{ARN: roleARN, AccountID: role.Account, RoleARN: roleARN}, Action: use.Action, Resource: use.Resource, Context: ctx,
	}, &in)
	return dec.Allowed, nil
}
