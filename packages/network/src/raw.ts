import type { Attestation } from './attestation-types.ts'
import type { RawA2a } from './a2a.ts'
import type { RawLlm } from './llm.ts'
import type { RawOpaque } from './opaque.ts'
import type { RawPostgres } from './postgres.ts'
import type { RotationRule, TableAction, TransitKey } from './secrets-types.ts'
import type {
  Attributes,
  Criticality,
  DataClass,
  EnforcementAbility,
  MaskStyle,
  OperatorRole,
  Settings,
} from './types.ts'

/** `network.yaml` as the JSON Schema has accepted it: defaults not yet filled, references not yet checked. */
export interface RawNetwork {
  readonly name: string
  readonly trustDomain: string
  readonly quorum?: number
  readonly settings?: Partial<Settings>
  readonly segments: Named<{ readonly description?: string; readonly owner: string }>
  readonly agents: Named<{
    readonly description?: string
    readonly owner: string
    readonly segment: string
    readonly criticality?: Criticality
    readonly roles?: readonly string[]
    readonly attributes?: Attributes
    readonly attest?: Attestation
    readonly tokenBinding?: 'certificate'
    readonly backchannelPing?: { readonly url: string; readonly caFile?: string }
  }>
  readonly federation?: Named<{
    readonly url: string
    readonly profile: 'https_web' | 'https_spiffe'
    readonly spiffeId?: string
    readonly bundleFile?: string
    readonly caFile?: string
    readonly maxAgeSeconds?: number
    readonly agents?: Named<{
      readonly path: string
      readonly description?: string
      readonly owner: string
      readonly purpose: string
      readonly until: string
    }>
  }>
  readonly attestors?: {
    readonly x509pop?: { readonly caFile: string }
    readonly kubernetes?: {
      readonly issuer: string
      readonly audience: string
      readonly keysFile?: string
      readonly api?: { readonly url: string; readonly caFile: string }
    }
  }
  readonly operators: Named<{
    readonly displayName: string
    readonly roles: readonly OperatorRole[]
    readonly identities?: readonly { readonly provider: string; readonly subject: string }[]
    readonly breakGlass?: { readonly roles: readonly OperatorRole[] }
  }>
  readonly identityProviders?: Named<{
    readonly issuer: string
    readonly clientId: string
    readonly clientSecretFile?: string
    readonly groups: {
      readonly claim: string
      readonly map: Readonly<Record<string, readonly OperatorRole[]>>
    }
    readonly maxRole?: OperatorRole
    readonly disabled?: boolean
  }>
  readonly services?: Named<{
    readonly description?: string
    readonly owner: string
    readonly segment: string
    readonly enforcementPoint?: {
      readonly systems: readonly string[]
      readonly can?: readonly EnforcementAbility[]
    }
    readonly responder?: true
  }>
  readonly systems: Named<RawSystem>
  readonly datasets?: Named<RawDataSet>
  readonly flows: readonly {
    readonly id?: string
    readonly from: string
    readonly to: string
    readonly operations: readonly string[]
    readonly purpose: string
  }[]
  readonly limits?: Named<{
    readonly description?: string
    readonly agents: readonly string[]
    readonly operations: readonly string[]
    readonly windowSeconds: number
    readonly maxCalls?: number
    readonly maxSum?: { readonly input: string; readonly max: number }
  }>
  readonly databases?: Named<{
    readonly description?: string
    readonly owner: string
    readonly host: string
    readonly port?: number
    readonly database: string
    readonly tls?: { readonly caFile: string; readonly serverName?: string }
    readonly admin: { readonly user: string; readonly secret: string }
    readonly login?: 'certificate' | 'password'
    readonly accounts: Named<{
      readonly ttlSeconds?: number
      readonly maxTtlSeconds?: number
      readonly maxConnections?: number
      readonly statementTimeoutMs?: number
      readonly grants: readonly RawTableGrant[]
    }>
  }>
  readonly secrets?: Named<{
    readonly owner: string
    readonly use: string
    readonly agents?: readonly string[]
    readonly services?: readonly string[]
    readonly operators?: readonly string[]
    readonly local?: boolean
    readonly maxVersions?: number
    readonly rotation?: Omit<RotationRule, 'ca' | 'graceSeconds' | 'parameters'> & {
      readonly caFile?: string
      readonly graceSeconds?: number
      readonly parameters?: Readonly<Record<string, string>>
    }
  }>
  readonly transit?: Named<
    Omit<TransitKey, 'name' | 'users'> & { readonly users?: TransitKey['users'] }
  >
}

export interface RawTableGrant {
  readonly schema?: string
  readonly table: string
  readonly columns: readonly string[]
  readonly actions: readonly TableAction[]
  readonly rows?: Readonly<Record<string, string | number | boolean>>
}

type Named<T> = Readonly<Record<string, T>>

export interface RawSystem {
  readonly description?: string
  readonly owner: string
  readonly segment: string
  readonly criticality?: Criticality
  readonly protocol: 'http' | 'grpc' | 'mcp' | 'a2a' | 'postgres' | 'llm' | 'opaque'
  readonly postgres?: RawPostgres
  readonly llm?: RawLlm
  readonly a2a?: RawA2a
  readonly opaque?: RawOpaque
  readonly openapi?: string
  readonly descriptors?: string
  readonly tools?: string
  readonly pins?: string
  readonly upstream:
    | { readonly service: string; readonly port: number }
    | {
        readonly url: string
        readonly serverName: string
        readonly caFile?: string
        readonly credential?: {
          readonly header: string
          readonly secret: string
          readonly scheme?: string
          readonly as?: 'basic-user'
        }
      }
    | { readonly url: string; readonly plaintext: string }
    | {
        readonly command: string
        readonly args?: readonly string[]
        readonly env?: Readonly<Record<string, string>>
      }
  readonly operations: Named<RawOperation>
  readonly attributes?: Attributes
  readonly onBehalfOf?: 'person'
}

interface RawOperation {
  readonly kind: 'read' | 'write'
  readonly description?: string
  readonly from?: string
  readonly subject?: string
  readonly returns?: Readonly<Record<string, string>>
  readonly content?: string
  readonly hosts?: readonly string[]
}

interface RawDataSet {
  readonly description?: string
  readonly system: string
  readonly owner: string
  readonly fields: Named<
    | DataClass
    | {
        readonly class: DataClass
        readonly tags?: readonly string[]
        readonly mask?: MaskStyle
        readonly dataset?: string
        readonly token?: string
      }
  >
}
