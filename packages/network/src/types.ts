import type { A2aBinding, A2aSystem } from './a2a-types.ts'
import type { Attestation, Attestors } from './attestation-types.ts'
import type { Federation } from './federation.ts'
import type { GrpcBinding, GrpcSystem } from './grpc-types.ts'
import type { BackchannelPing } from './notification.ts'
import type { LlmBinding, LlmSystem } from './llm-types.ts'
import type { McpFeatureBinding, McpProgram } from './mcp-types.ts'
import type { OpaqueBinding, OpaqueSystem } from './opaque-types.ts'
import type { PostgresBinding, PostgresSystem } from './postgres-types.ts'
import type { Database, SecretRule, TransitKey } from './secrets-types.ts'

/** How bad it is when a value is seen by the wrong eyes, least first. */
export type DataClass = 'public' | 'internal' | 'confidential' | 'restricted'
export const DATA_CLASSES: readonly DataClass[] = [
  'public',
  'internal',
  'confidential',
  'restricted',
]

/** 0 for the least. */
export const classRank = (name: DataClass): number => DATA_CLASSES.indexOf(name)

export type Criticality = 'low' | 'medium' | 'high' | 'critical'

/** A zone of agents and systems. */
export interface Segment {
  readonly name: string
  readonly description: string
  readonly owner: string
}

/** Facts that policies read and nobody can claim in a call: a region, a tier, whether something was validated. */
export type Attributes = Readonly<Record<string, AttributeValue>>

/** In Cedar a `String`, a `Long`, a `Bool` or a `Set<String>`. */
export type AttributeValue = string | number | boolean | readonly string[]

export interface Agent {
  readonly name: string
  readonly description: string
  readonly owner: string
  readonly segment: string
  readonly criticality: Criticality
  readonly roles: readonly string[]
  readonly attributes?: Attributes
  readonly attest?: Attestation
  /** Its access tokens are for the very certificate they were asked with; absent means for the instance, whatever it renews. */
  readonly tokenBinding?: 'certificate'
  /** Where it is told that a person decided what it asked out of band; absent means that it asks. */
  readonly backchannelPing?: BackchannelPing
}

/** A person. Keys are enrolled with the control plane, not declared. */
export interface Operator {
  readonly name: string
  readonly displayName: string
  readonly roles: readonly OperatorRole[]
  /** Who this person is at the declared identity providers. */
  readonly identities?: readonly { readonly provider: string; readonly subject: string }[]
  /** What this person may have for a short while, with a reason, an alarm and a review; absent means nothing. */
  readonly breakGlass?: { readonly roles: readonly OperatorRole[] }
}

/**
 * Who else says who somebody is (OpenID Connect). It opens sessions that read and narrow; what widens still takes a passkey
 * that gateways pin.
 */
export interface IdentityProvider {
  readonly name: string
  /** Exactly as its tokens have it. */
  readonly issuer: string
  readonly clientId: string
  /** A file on the machine of the control plane (0600); absent means a public client, with PKCE alone. */
  readonly clientSecretFile?: string
  readonly groups: {
    /** The member of the ID token that lists the person's groups. */
    readonly claim: string
    readonly map: Readonly<Record<string, readonly OperatorRole[]>>
  }
  /** Nobody has more than this by a group. */
  readonly maxRole: OperatorRole
  readonly disabled: boolean
}

/** viewer < responder (contain, investigate) < approver (approve, release) < admin (operators, policy). */
export type OperatorRole = 'viewer' | 'responder' | 'approver' | 'admin'

/** A workload that is not an agent and serves a system inside the network. */
export interface Service {
  readonly name: string
  readonly description: string
  readonly owner: string
  readonly segment: string
  /** It may ask the control plane for decisions (AuthZEN); absent means never. */
  readonly enforcementPoint?: EnforcementPoint
  /** It may cut agents and instances off; it lets nobody back in. */
  readonly responder?: true
}

/** What an enforcement point of somebody else's make fronts and can do. What a decision needs and it cannot do denies. */
export interface EnforcementPoint {
  /** It may ask about these and no others. */
  readonly systems: readonly string[]
  readonly can: readonly EnforcementAbility[]
}

/**
 * `body`: reads the whole of a request and states all of its input; `project`: cuts responses down as told; `label`: waits
 * for the labels it is told before it answers; `outcome`: keeps a record of how each call ended.
 */
export type EnforcementAbility = 'body' | 'project' | 'label' | 'outcome'
export const ENFORCEMENT_ABILITIES: readonly EnforcementAbility[] = [
  'body',
  'project',
  'label',
  'outcome',
]

export type System = {
  readonly name: string
  readonly description: string
  readonly owner: string
  readonly segment: string
  readonly criticality: Criticality
  readonly protocol: 'http' | 'grpc' | 'mcp' | 'a2a' | 'postgres' | 'llm' | 'opaque'
  readonly upstream: Upstream
  /** Of the protocol `postgres`, and of no other. */
  readonly postgres?: PostgresSystem
  /** Of the protocol `grpc`, and of no other. */
  readonly grpc?: GrpcSystem
  /** Of the protocol `llm`, and of no other. */
  readonly llm?: LlmSystem
  /** Of the protocol `a2a`, and of no other. */
  readonly a2a?: A2aSystem
  /** Of the protocol `opaque`, and of no other. */
  readonly opaque?: OpaqueSystem
  readonly operations: readonly Operation[]
  readonly attributes?: Attributes
  /** Calls must carry a token that a person gave the caller; absent means that its certificate is enough. */
  readonly onBehalfOf?: 'person'
}

/**
 * Inside the network an upstream is mTLS to a declared service plus a 30-second signed token; outside it is
 * server-authenticated TLS with a pinned name and a credential that only the gateway holds. A program is the gateway's own child.
 * A `plain` one nothing authenticates: whoever is at its address is taken for it.
 */
export type Upstream =
  | { readonly kind: 'service'; readonly service: string; readonly port: number }
  | {
      readonly kind: 'external'
      /** `https://host[:port][/base]`, `postgres://host[:port]`, or `tls://host:port` */
      readonly url: string
      /** The DNS name the server certificate must carry. */
      readonly serverName: string
      /** PEM text (the file that `network.yaml` names, read) of the only CA accepted for it; absent means the platform's roots. */
      readonly caFile?: string
      /** The secret named here is sent in this header. */
      readonly credential?: {
        readonly header: string
        readonly secret: string
        readonly scheme?: string
        /** As the user name of Basic authentication, without a password (RFC 7617); absent means as it is. */
        readonly as?: 'basic-user'
      }
    }
  | {
      /** TCP without TLS: of the protocol `opaque`, and of no other. */
      readonly kind: 'plain'
      /** `tcp://host:port` */
      readonly url: string
      /** Why, in words, it has to do without TLS. */
      readonly plaintext: string
    }
  | McpProgram

export interface Operation {
  /** Unique in its system; `SYSTEM.OPERATION` is its Cedar action id. */
  readonly name: string
  readonly description: string
  readonly kind: 'read' | 'write'
  readonly binding:
    | HttpBinding
    | GrpcBinding
    | McpBinding
    | McpFeatureBinding
    | A2aBinding
    | PostgresBinding
    | LlmBinding
    | OpaqueBinding
  readonly input: InputSchema
  /** The input member that names the person or account concerned; its log inputs are sealed under that subject's key. */
  readonly subject?: string
  /**
   * What the response holds: path → data set, or `public` for a scalar passed through. A path is dotted member
   * names, `[]` after one that is an array, `$` for the whole. Whatever no path covers is dropped. Content blocks of MCP
   * are under `MCP_CONTENT`.
   */
  readonly returns: Readonly<Record<string, string>>
}

export interface HttpBinding {
  readonly kind: 'http'
  readonly method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE'
  /** OpenAPI path template, e.g. `/v1/accounts/{accountId}/holds`. */
  readonly path: string
  /** Where each input member travels; members of `body` are the properties of the body. */
  readonly parameters: Readonly<Record<string, 'path' | 'query' | 'header' | 'body'>>
  /**
   * Other path templates of the description with the same method that some paths of this one fit too. Which of them the
   * upstream would take is not known, or is the other: such a path is no call of this operation.
   */
  readonly shadowedBy?: readonly string[]
  /** Answers that say in each item what its value is. */
  readonly labelled?: LabelledItems
  /** How its body is written; absent means as JSON. */
  readonly body?: HttpBody
  /** Media types of one JSON text a line that its answers may have beside JSON; `returns` is of each line then. */
  readonly lines?: readonly string[]
  /** Its answers are bytes, and nothing else: `returns` is `$` then, of one field, for nobody could hold a part of them back. */
  readonly bytes?: BytesAnswer
}

/** Answers that are handed on as they come. */
export interface BytesAnswer {
  /** Media types, lower case, without parameters: `application/pdf`, or a pattern such as `image/*`. */
  readonly types: readonly string[]
  /** Largest size. */
  readonly maxBytes: number
}

/**
 * Items of an answer whose value is what a label in them says, as `{"label": "iban", "ocr_text": "…"}`: the value is treated as the
 * field of that name, of the data set that the field of the value names.
 */
export interface LabelledItems {
  /** Where they are, as in `returns`: `result[].prediction[]`. */
  readonly items: string
  readonly label: string
  readonly value: string
}

/** A body that is not JSON. */
export type HttpBody =
  | {
      /** `application/x-www-form-urlencoded` */
      readonly kind: 'form'
      /** Members that are written with brackets, as `a[b]` or `a[0]`. */
      readonly deep: readonly string[]
    }
  | {
      /** `multipart/form-data` */
      readonly kind: 'parts'
      /** Members that are files, or lists of files. */
      readonly files: readonly string[]
    }
  | {
      /** Bytes that are handed on as they come: the input has what they are said to be, as its member `body`. */
      readonly kind: 'raw'
    }

export interface McpBinding {
  readonly kind: 'mcp'
  readonly tool: string
  readonly title?: string
  /** The tool's JSON Schema as declared: what callers are shown, whatever the server says. */
  readonly inputSchema: unknown
  /** SHA-256 of the tool's definition as its server gave it when it was accepted; absent means that nobody compares. */
  readonly pin?: string
}

/** Typed input: the part of JSON Schema that maps onto Cedar without loss. Undeclared members are refused. */
export interface InputSchema {
  readonly type: 'record'
  /** Of every variant together, where there are variants. */
  readonly members: Readonly<Record<string, InputMember>>
  /** `oneOf` or `anyOf`: an input is one of these, of exactly one where it is `one`. */
  readonly variants?: { readonly fits: 'one' | 'any'; readonly of: readonly InputSchema[] }
}

export interface InputMember {
  readonly schema: InputType
  readonly required: boolean
}

export type InputType =
  | {
      readonly type: 'string'
      readonly maxLength: number
      readonly pattern?: string
      readonly enum?: readonly string[]
      /**
       * Callers may pass a token instead, which is restored before the decision. This is the kind of token, as the
       * tokeniser takes it: what the declaration names as `DATASET.FIELD`, already resolved through the field's
       * `tokenKind`.
       */
      readonly tokenOf?: string
    }
  | { readonly type: 'long'; readonly minimum: number; readonly maximum: number }
  | DecimalType
  | { readonly type: 'boolean' }
  | {
      readonly type: 'set'
      readonly items: InputType
      /** Absent where an empty one will do. */
      readonly minItems?: number
      readonly maxItems: number
    }
  | InputSchema

/** A number of at most four decimals, as Cedar's `decimal`: exact, as `tenThousandths` of base is. */
export interface DecimalType {
  readonly type: 'decimal'
  readonly minimum: number
  readonly maximum: number
  /** What it is a multiple of; absent where any number of four decimals will do. */
  readonly step?: number
}

export interface DataSet {
  readonly name: string
  readonly description: string
  readonly system: string
  readonly owner: string
  readonly fields: readonly Field[]
}

export interface Field {
  readonly name: string
  readonly class: DataClass
  /** e.g. `pii`, `pan`, `sar`, `untrusted` (written by outsiders). */
  readonly tags: readonly string[]
  /** How a masked value looks: `last4`, `first1`, `year`, `full` (default `full`). */
  readonly mask: MaskStyle
  /** A field of objects or arrays of objects names the data set of its elements. */
  readonly dataset?: string
  /**
   * What its tokens stand for, e.g. `account`: fields that share it give the same token for the same value, so that
   * the two ends of a payment still join. Absent means `DATASET.FIELD`. Read it through `NetworkIndex.tokenKind`.
   */
  readonly tokenKind?: string
}

export type MaskStyle = 'full' | 'last4' | 'first1' | 'year'

/** A declared path. Calls outside every flow are denied whatever policies say. */
export interface Flow {
  readonly id: string
  readonly from: string
  readonly to: string
  readonly operations: readonly string[]
  readonly purpose: string
}

export interface Limit {
  readonly id: string
  readonly description: string
  /** Agents counted, each instance and all instances of the agent together. */
  readonly agents: readonly string[]
  /** `SYSTEM.OPERATION` it applies to. */
  readonly operations: readonly string[]
  readonly windowSeconds: number
  readonly maxCalls?: number
  /** Sum of an input member (minor units) over the window. */
  readonly maxSum?: { readonly input: string; readonly max: number }
}

export interface Settings {
  /** Life of an X.509-SVID in seconds; renewal starts at half of it. */
  readonly svidTtlSeconds: number
  /** How long a gateway goes on without the control plane. */
  readonly stalenessSeconds: number
  /** The same for writes and for restricted data. */
  readonly strictStalenessSeconds: number
  /** Seconds after which a risk score is stale and `staleRisk` is read instead. */
  readonly riskTtlSeconds: number
  readonly staleRisk: number
  /** Risk (0–100) at which the detector quarantines an instance by itself; absent means never. */
  readonly quarantineAtRisk?: number
  readonly approvalTtlSeconds: number
  /** An IANA name; with it policies read the local time too, as `context.time.local`. */
  readonly timeZone?: string
  /** How long a declaration must have been in shadow before it can come into force; absent means not at all. */
  readonly shadowMinutes?: number
  /** How long an operator's session lasts at most; absent means eight hours. */
  readonly sessionMinutes?: number
  /** How long it lasts unused; absent means a quarter of an hour. */
  readonly sessionIdleMinutes?: number
  /** What it is bound to beside its cookie: the browser (default), or its network address too. */
  readonly sessionBinding?: 'browser' | 'address'
  /** How long a second operator's word for a sign-in by code holds; absent means ten minutes. */
  readonly recoveryMinutes?: number
  /** How long break-glass lasts; absent means half an hour. */
  readonly breakGlassMinutes?: number
  /** After this a break-glass that nobody else has reviewed is overdue; absent means a day. */
  readonly breakGlassReviewHours?: number
}

export interface Network {
  readonly name: string
  readonly trustDomain: string
  /** Operator signatures that a widening bundle needs. */
  readonly quorum: number
  readonly settings: Settings
  readonly segments: readonly Segment[]
  readonly agents: readonly Agent[]
  readonly operators: readonly Operator[]
  /** Absent means none: people sign in with passkeys. */
  readonly identityProviders?: readonly IdentityProvider[]
  readonly services: readonly Service[]
  readonly systems: readonly System[]
  readonly datasets: readonly DataSet[]
  readonly flows: readonly Flow[]
  readonly limits: readonly Limit[]
  readonly databases?: readonly Database[]
  readonly secrets?: readonly SecretRule[]
  readonly transit?: readonly TransitKey[]
  readonly attestors?: Attestors
  readonly federation?: readonly Federation[]
}

/** Policies travel as source: id → Cedar text, one policy each. Ids come from `@id`, else `FILE.policyN`. */
export interface PolicySource {
  readonly id: string
  readonly source: string
  readonly file: string
  readonly line: number
}

/** The whole declaration, as bundles carry it: `network.yaml` resolved, and the policies. */
export interface Declaration {
  readonly network: Network
  readonly policies: readonly PolicySource[]
}
