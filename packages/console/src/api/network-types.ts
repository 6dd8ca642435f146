/** The declaration as `GET /api/network` sends it: `@sallyport/network`'s Network, as far as the console reads it. */
type DataClass = 'public' | 'internal' | 'confidential' | 'restricted'
type Criticality = 'low' | 'medium' | 'high' | 'critical'
export type OperatorRole = 'viewer' | 'responder' | 'approver' | 'admin'

interface Segment {
  readonly name: string
  readonly description: string
  readonly owner: string
}

export interface Agent {
  readonly name: string
  readonly description: string
  readonly owner: string
  readonly segment: string
  readonly criticality: Criticality
  readonly roles: readonly string[]
}

/** Typed input of an operation. */
export interface InputSchema {
  readonly type: 'record'
  readonly members: Readonly<
    Record<string, { readonly schema: InputType; readonly required: boolean }>
  >
}

export type InputType =
  | { readonly type: 'string'; readonly enum?: readonly string[] }
  | { readonly type: 'long' }
  | { readonly type: 'decimal' }
  | { readonly type: 'boolean' }
  | { readonly type: 'set'; readonly items: InputType }
  | InputSchema

interface Operation {
  readonly name: string
  readonly description: string
  readonly kind: 'read' | 'write'
  readonly input: InputSchema
  readonly binding:
    | { readonly kind: 'http'; readonly method: string; readonly path: string }
    | { readonly kind: 'grpc'; readonly path: string }
    | { readonly kind: 'mcp'; readonly tool: string }
    | { readonly kind: 'a2a'; readonly skill: string }
    | { readonly kind: 'opaque' }
    | { readonly kind: 'postgres'; readonly action: string; readonly table: string }
    | { readonly kind: 'llm'; readonly surface: string }
  readonly returns: Readonly<Record<string, string>>
}

interface System {
  readonly name: string
  readonly description: string
  readonly owner: string
  readonly segment: string
  readonly criticality: Criticality
  readonly protocol: 'http' | 'grpc' | 'mcp' | 'a2a' | 'postgres' | 'llm' | 'opaque'
  readonly upstream:
    | { readonly kind: 'service'; readonly service: string; readonly port: number }
    | { readonly kind: 'external'; readonly url: string; readonly serverName: string }
    | { readonly kind: 'plain'; readonly url: string; readonly plaintext: string }
    | { readonly kind: 'program'; readonly command: string }
  readonly operations: readonly Operation[]
}

interface DataSet {
  readonly name: string
  readonly description: string
  readonly system: string
  readonly owner: string
  readonly fields: readonly {
    readonly name: string
    readonly class: DataClass
    readonly tags: readonly string[]
    readonly mask: string
    readonly dataset?: string
  }[]
}

export interface Flow {
  readonly id: string
  readonly from: string
  readonly to: string
  readonly operations: readonly string[]
  readonly purpose: string
}

interface Limit {
  readonly id: string
  readonly description: string
  readonly agents: readonly string[]
  readonly operations: readonly string[]
  readonly windowSeconds: number
  readonly maxCalls?: number
  readonly maxSum?: { readonly input: string; readonly max: number }
}

export interface Network {
  readonly name: string
  readonly trustDomain: string
  readonly quorum: number
  readonly settings: {
    readonly svidTtlSeconds: number
    readonly stalenessSeconds: number
    readonly strictStalenessSeconds: number
    readonly riskTtlSeconds: number
    readonly staleRisk: number
    readonly quarantineAtRisk?: number
    readonly approvalTtlSeconds: number
  }
  readonly segments: readonly Segment[]
  readonly agents: readonly Agent[]
  readonly operators: readonly {
    readonly name: string
    readonly displayName: string
    readonly roles: readonly OperatorRole[]
    readonly breakGlass?: { readonly roles: readonly OperatorRole[] }
  }[]
  readonly systems: readonly System[]
  readonly datasets: readonly DataSet[]
  readonly flows: readonly Flow[]
  readonly limits: readonly Limit[]
}

export interface PolicySource {
  readonly id: string
  readonly source: string
  readonly file: string
  readonly line: number
}
