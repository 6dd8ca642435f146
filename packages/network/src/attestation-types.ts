/**
 * What a process, or the machine it runs on, must prove to be an instance of an agent. Each part stands alone: it is the
 * proof asked for where that kind of attestation is used, and an agent without it is never taken for attested that way.
 */
export interface Attestation {
  readonly unix?: UnixAttestation
  readonly x509pop?: X509PopAttestation
  readonly kubernetes?: KubernetesAttestation
}

/** A process on the machine of a shared Workload API. All that is given must hold. */
export interface UnixAttestation {
  readonly uid: number
  readonly gid?: number
  /** Of the executable, absolute. It must be the very file that runs, and one that this user cannot change. */
  readonly path?: string
  /** Of the executable, 64 hexadecimal digits, lower-case. */
  readonly sha256?: string
}

/** A holder of a key whose certificate a configured CA issued. */
export interface X509PopAttestation {
  /** The one DNS name of the certificate. */
  readonly dnsName: string
  /** Of the certificate (DER): 64 hexadecimal digits, lower-case. */
  readonly sha256?: string
}

/** A pod with a projected token of this service account. */
export interface KubernetesAttestation {
  readonly namespace: string
  readonly serviceAccount: string
}

/** Who vouches for what agents prove at their enrolment. */
export interface Attestors {
  readonly x509pop?: {
    /** PEM text (the file that `network.yaml` names, read) of the CAs. */
    readonly ca: string
  }
  readonly kubernetes?: {
    /** The `iss` of the cluster's tokens, exactly. */
    readonly issuer: string
    /** The audience that tokens for this network are projected for. */
    readonly audience: string
    /** JWKS text of the cluster; tokens are verified with it where there is one. */
    readonly keys?: string
    /** The API server that is asked (TokenReview) about every token. */
    readonly api?: { readonly url: string; readonly ca: string }
  }
}
