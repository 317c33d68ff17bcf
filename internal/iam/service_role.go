package iam

import (
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

// RoleMay reports whether the policies of a role, within its boundary, allow an
// action on a resource of the role's own account.
func (d *Directory) RoleMay(roleARN, action, resource string) bool {
	role, ok := d.RoleByARN(roleARN)
	if !ok {
		return false
	}
	a := d.account(role.Account)
	r := a.roleByID(role.ID)
	if r == nil {
		return false // removed just now
	}
	dec := policy.Evaluate(&policy.Request{
		Principal: policy.Principal{ARN: roleARN, AccountID: role.Account, RoleARN: roleARN}, Action: action, Resource: resource,
		Context: policy.Values{
			"aws:principalarn": {roleARN}, "aws:principalaccount": {role.Account}, "aws:principaltype": {"AssumedRole"},
			"aws:securetransport": {"true"}, "aws:resourceaccount": {role.Account},
		},
	}, &policy.Input{Identity: d.grantPolicies(a, &r.grants, nil), Boundary: d.boundaryPolicy(a, r.Boundary), ResourceAccount: role.Account})
	return dec.Allowed
}
