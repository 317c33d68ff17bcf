package iam

import (
	sdk "github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"spoor/internal/aws"
	"spoor/internal/call"
)

// absentOperations list kinds of entities that cannot be made here. Clients ask
// for them before they delete a user or when they take stock, and "none" is
// the true answer.
func (s *api) absentOperations() []call.Operation {
	return []call.Operation{
		op("ListMFADevices", func(c *call.Call, in *sdk.ListMFADevicesInput) target { return s.onUser(c, in.UserName) },
			func(c *call.Call, in *sdk.ListMFADevicesInput) (*sdk.ListMFADevicesOutput, error) {
				return &sdk.ListMFADevicesOutput{MFADevices: []types.MFADevice{}}, s.known(c, in.UserName)
			}, call.ReadOnly),
		op("ListSSHPublicKeys", func(c *call.Call, in *sdk.ListSSHPublicKeysInput) target { return s.onUser(c, in.UserName) },
			func(c *call.Call, in *sdk.ListSSHPublicKeysInput) (*sdk.ListSSHPublicKeysOutput, error) {
				return &sdk.ListSSHPublicKeysOutput{SSHPublicKeys: []types.SSHPublicKeyMetadata{}}, s.known(c, in.UserName)
			}, call.ReadOnly),
		op("ListSigningCertificates", func(c *call.Call, in *sdk.ListSigningCertificatesInput) target { return s.onUser(c, in.UserName) },
			func(c *call.Call, in *sdk.ListSigningCertificatesInput) (*sdk.ListSigningCertificatesOutput, error) {
				return &sdk.ListSigningCertificatesOutput{Certificates: []types.SigningCertificate{}}, s.known(c, in.UserName)
			}, call.ReadOnly),
		op("ListVirtualMFADevices", anything, func(*call.Call, *sdk.ListVirtualMFADevicesInput) (*sdk.ListVirtualMFADevicesOutput, error) {
			return &sdk.ListVirtualMFADevicesOutput{VirtualMFADevices: []types.VirtualMFADevice{}}, nil
		}, call.ReadOnly),
		op("ListServerCertificates", anything, func(*call.Call, *sdk.ListServerCertificatesInput) (*sdk.ListServerCertificatesOutput, error) {
			return &sdk.ListServerCertificatesOutput{ServerCertificateMetadataList: []types.ServerCertificateMetadata{}}, nil
		}, call.ReadOnly),
		op("ListSAMLProviders", anything, func(*call.Call, *sdk.ListSAMLProvidersInput) (*sdk.ListSAMLProvidersOutput, error) {
			return &sdk.ListSAMLProvidersOutput{SAMLProviderList: []types.SAMLProviderListEntry{}}, nil
		}, call.ReadOnly),
	}
}

// known fails when the user that a call is about does not exist; root may ask
// about itself.
func (s *api) known(c *call.Call, name *string) error {
	if str(name) == "" && c.Caller.Type == aws.Root {
		return nil
	}
	_, _, err := s.user(c, name)
	return err
}
