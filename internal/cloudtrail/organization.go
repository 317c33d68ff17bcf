package cloudtrail

import (
	sdk "github.com/aws/aws-sdk-go-v2/service/cloudtrail"

	"spoor/internal/call"
)

// organizationOperations are those of organizations. No account here is in
// one, and AWS's answer to such an account is an error.
func (s *api) organizationOperations() []call.Operation {
	const code = "OrganizationsNotInUseException"
	return []call.Operation{
		call.Op("RegisterOrganizationDelegatedAdmin", onAll[sdk.RegisterOrganizationDelegatedAdminInput]("RegisterOrganizationDelegatedAdmin"),
			handle(func(*call.Call, *sdk.RegisterOrganizationDelegatedAdminInput) (*sdk.RegisterOrganizationDelegatedAdminOutput, error) {
				return nil, organizationsNotInUse("cloudtrail.RegisterOrganizationDelegatedAdmin")
			}), call.Refuses(code)),
		call.Op("DeregisterOrganizationDelegatedAdmin", onAll[sdk.DeregisterOrganizationDelegatedAdminInput]("DeregisterOrganizationDelegatedAdmin"),
			handle(func(*call.Call, *sdk.DeregisterOrganizationDelegatedAdminInput) (*sdk.DeregisterOrganizationDelegatedAdminOutput, error) {
				return nil, organizationsNotInUse("cloudtrail.DeregisterOrganizationDelegatedAdmin")
			}), call.Refuses(code)),
	}
}
