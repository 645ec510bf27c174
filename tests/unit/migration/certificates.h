// A CA, and a server's and a client's certificate of it, made for one test.
#pragma once

#include <fmt/core.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>

namespace hako::migration::testing {

class Certificate {
  public:
    /// `issuer`: null for one that signs itself. `address`: an IP address it is for, or empty.
    Certificate(const std::string& name, const Certificate* issuer, const std::string& address) {
        ASN1_INTEGER_set(X509_get_serialNumber(certificate_.get()), issuer == nullptr ? 1 : 2);
        X509_set_version(certificate_.get(), 2);
        X509_gmtime_adj(X509_getm_notBefore(certificate_.get()), -3600);
        X509_gmtime_adj(X509_getm_notAfter(certificate_.get()), 3600);
        X509_set_pubkey(certificate_.get(), key_.get());
        X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate_.get()), "CN", MBSTRING_ASC,
                                   reinterpret_cast<const unsigned char*>(name.c_str()), -1, -1, 0);
        const Certificate& by = issuer != nullptr ? *issuer : *this;
        X509_set_issuer_name(certificate_.get(), X509_get_subject_name(by.certificate_.get()));
        if (issuer == nullptr) extend(NID_basic_constraints, "critical,CA:TRUE");
        if (!address.empty()) extend(NID_subject_alt_name, fmt::format("IP:{}", address));
        X509_sign(certificate_.get(), by.key_.get(), EVP_sha256());
    }

    void write(const std::filesystem::path& certificate, const std::filesystem::path& key) const {
        if (std::FILE* const file = std::fopen(certificate.c_str(), "w")) {
            PEM_write_X509(file, certificate_.get());
            std::fclose(file);
        }
        if (std::FILE* const file = std::fopen(key.c_str(), "w")) {
            PEM_write_PrivateKey(file, key_.get(), nullptr, nullptr, 0, nullptr, nullptr);
            std::fclose(file);
        }
    }

  private:
    void extend(int nid, const std::string& value) {
        X509_EXTENSION* const extension = X509V3_EXT_conf_nid(nullptr, nullptr, nid, value.c_str());
        X509_add_ext(certificate_.get(), extension, -1);
        X509_EXTENSION_free(extension);
    }

    struct Free {
        void operator()(X509* what) const { X509_free(what); }
        void operator()(EVP_PKEY* what) const { EVP_PKEY_free(what); }
    };
    std::unique_ptr<EVP_PKEY, Free> key_{EVP_EC_gen("P-256")};
    std::unique_ptr<X509, Free> certificate_{X509_new()};
};

/// All files of a tls_dir. The server's certificate is for `address`.
inline void write_certificates(const std::filesystem::path& directory, const std::string& address) {
    const Certificate ca("hako test CA", nullptr, "");
    ca.write(directory / "ca-cert.pem", directory / "ca-key.pem");
    Certificate("server", &ca, address).write(directory / "server-cert.pem", directory / "server-key.pem");
    Certificate("client", &ca, "").write(directory / "client-cert.pem", directory / "client-key.pem");
}

}  // namespace hako::migration::testing
