package iam

import (
	"net/http"
	"strings"

	"spoor/internal/aws"
)

// refusal are operations of IAM's API that this server has no use for, with
// the error that AWS gives when what they are about is not there.
type refusal struct {
	operations string
	kind       aws.Kind
	status     int
	code       string
	message    string
}

// refusals are all operations that are not offered; each is authorised and
// recorded before it fails.
func refusals() []refusal {
	return []refusal{
		// Kinds of entities that cannot be made here, so that none is found.
		{`DeactivateMFADevice DeleteVirtualMFADevice GetMFADevice ListMFADeviceTags ResyncMFADevice TagMFADevice UntagMFADevice`,
			aws.NotFound, http.StatusNotFound, "NoSuchEntity", "The MFA device does not exist: this server keeps none."},
		{`DeleteSAMLProvider GetSAMLProvider ListSAMLProviderTags TagSAMLProvider UntagSAMLProvider UpdateSAMLProvider`,
			aws.NotFound, http.StatusNotFound, "NoSuchEntity", "The SAML provider does not exist: this server keeps none."},
		{`DeleteServerCertificate GetServerCertificate ListServerCertificateTags TagServerCertificate UntagServerCertificate UpdateServerCertificate`,
			aws.NotFound, http.StatusNotFound, "NoSuchEntity", "The server certificate does not exist: this server keeps none."},
		{`DeleteSSHPublicKey GetSSHPublicKey UpdateSSHPublicKey`,
			aws.NotFound, http.StatusNotFound, "NoSuchEntity", "The SSH public key does not exist: this server keeps none."},
		{`DeleteSigningCertificate UpdateSigningCertificate`,
			aws.NotFound, http.StatusNotFound, "NoSuchEntity", "The signing certificate does not exist: this server keeps none."},
		{`DeleteServiceLinkedRole GetServiceLinkedRoleDeletionStatus`,
			aws.NotFound, http.StatusNotFound, "NoSuchEntity", "The service-linked role or its deletion does not exist: this server keeps none."},
		{`AcceptDelegationRequest AssociateDelegationRequest GetDelegationRequest GetHumanReadableSummary RejectDelegationRequest SendDelegationToken UpdateDelegationRequest`,
			aws.NotFound, http.StatusNotFound, "NoSuchEntity", "The delegation request does not exist: this server keeps none."},
		{`GetOrganizationsAccessReport GetServiceLastAccessedDetails GetServiceLastAccessedDetailsWithEntities`,
			aws.NotFound, http.StatusNotFound, "NoSuchEntity", "The job does not exist: this server makes no report of last access."},

		// What they belong to is not here.
		{`CreateServiceLinkedRole`, aws.Invalid, http.StatusBadRequest, "InvalidInput",
			"No service of this server uses a service-linked role."},
		{`DisableOrganizationsRootCredentialsManagement DisableOrganizationsRootSessions EnableOrganizationsRootCredentialsManagement
			EnableOrganizationsRootSessions ListOrganizationsFeatures`, aws.Invalid, http.StatusBadRequest, "OrganizationNotFoundException",
			"The request was rejected because your account is not a member of an organization."},
		{`DisableOutboundWebIdentityFederation GetOutboundWebIdentityFederationInfo`, aws.NotFound, http.StatusNotFound, "FeatureDisabled",
			"The request failed because outbound identity federation is disabled for this account."},

		{`CreateDelegationRequest CreateSAMLProvider CreateVirtualMFADevice EnableMFADevice EnableOutboundWebIdentityFederation
			GenerateOrganizationsAccessReport GenerateServiceLastAccessedDetails ListDelegationRequests ListPoliciesGrantingServiceAccess
			SetSecurityTokenServicePreferences UploadSSHPublicKey UploadServerCertificate UploadSigningCertificate`,
			aws.Unsupported, http.StatusNotImplemented, "UnsupportedOperation", "This operation is not offered by this server."},
	}
}

// refusedOperations names all of them.
func refusedOperations() []string {
	var out []string
	for _, r := range refusals() {
		out = append(out, strings.Fields(r.operations)...)
	}
	return out
}

// refusedErrors gives the error of an operation that is not offered.
func refusedErrors() func(operation string) error {
	by := map[string]refusal{}
	for _, r := range refusals() {
		for _, name := range strings.Fields(r.operations) {
			by[name] = r
		}
	}
	return func(operation string) error {
		r, ok := by[operation]
		if !ok {
			r = refusal{kind: aws.Unsupported, status: http.StatusNotImplemented, code: "UnsupportedOperation", message: "This operation is not offered by this server."}
		}
		return &aws.Error{Op: "iam." + operation, Kind: r.kind, Status: r.status, Code: r.code, Message: r.message}
	}
}
