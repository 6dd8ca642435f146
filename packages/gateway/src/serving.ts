import type { IdentityHolder } from '@sallyport/transport'
import { A2aCalls } from './a2a/calls.ts'
import { Cards } from './a2a/cards.ts'
import { Peers } from './a2a/peers.ts'
import { Show } from './a2a/show.ts'
import type { Tasks } from './a2a/tasks.ts'
import type { McpSessions } from './adapters/mcp-sessions.ts'
import { Approvals } from './calls/approvals.ts'
import { FollowUps } from './calls/follow.ts'
import { Limits } from './calls/limits.ts'
import { MandateUses } from './calls/mandate-uses.ts'
import { Mandates } from './calls/mandates.ts'
import { Pipeline } from './calls/pipeline.ts'
import type { PipelineParts } from './calls/pipeline.ts'
import { GrpcCalls } from './grpc/calls.ts'
import type { Sessions as GrpcSessions } from './grpc/sessions.ts'
import { GrpcUpstream } from './grpc/upstream.ts'
import { LlmCalls } from './llm/calls.ts'
import type { LlmParts } from './llm/calls.ts'
import type { PlaneClient } from './plane/client.ts'
import { EventStreams } from './serve/events.ts'
import { HttpCalls } from './serve/http.ts'
import { McpCalls } from './serve/mcp.ts'
import { ResourceMetadata } from './serve/metadata.ts'
import { OwnCalls } from './serve/own.ts'
import { Requests } from './serve/requests.ts'
import type { RequestParts } from './serve/requests.ts'
import { Uploads } from './serve/uploads.ts'
import type { Exchange } from './upstream/exchange.ts'
import type { McpUpstream } from './upstream/mcp.ts'

/** What there is of a gateway before anything is served; the rest of what the adapters need is made from it here. */
export interface ServingParts
  extends
    Omit<PipelineParts, 'approvals' | 'limits' | 'mandates' | 'mandateUses' | 'readValues'>,
    Pick<LlmParts, 'key' | 'readValues'>,
    Pick<RequestParts, 'liveness' | 'tokens'> {
  readonly client: PlaneClient
  readonly holder: IdentityHolder
  readonly exchange: Exchange
  readonly grpcSessions: GrpcSessions
  readonly mcpUpstream: McpUpstream
  readonly mcpSessions: McpSessions
  readonly tasks: Tasks
  readonly trustDomain: string
  /** Of this gateway. */
  readonly spiffeId: string
}

export interface Serving {
  readonly pipeline: Pipeline
  readonly requests: Requests
  readonly openStreams: number
  /** Decides anew what stays open once it is let in, and ends what no longer holds. */
  recheck(): void
  close(): void
}

/** Puts together what serves a request from its first byte to its outcome: the pipeline, and an adapter for each protocol. */
export function createServing(parts: ServingParts): Serving {
  const { audit, bundles, client, clock, exchange, holder, sessions, settings, tasks } = parts
  const approvals = new Approvals(client, sessions.used)
  const mandates = new Mandates({ client, holder, bundles, clock })
  const evidence = { approvals, mandates, mandateUses: new MandateUses(client) }
  const pipeline = new Pipeline({ ...parts, ...evidence, limits: new Limits(client) })
  const streams = new EventStreams({ ...parts, pipeline })
  const followUps = new FollowUps({ ...parts, pipeline, mandates })
  const uploads = new Uploads({ ...parts, pipeline })
  const calling = { ...parts, pipeline, streams, uploads, followUps }
  const peers = new Peers({
    ...calling,
    cards: new Cards({ exchange, audit, clock }, settings.a2aCardMs),
    show: new Show(pipeline.answers, tasks, () => clock.now()),
  })
  const mcp = new McpCalls({ ...calling, upstream: parts.mcpUpstream, sessions: parts.mcpSessions })
  const grpc = { exchange, clock, sessions: parts.grpcSessions, settings }
  const requests = new Requests({
    ...{ ...calling, mcp },
    http: new HttpCalls(calling),
    grpc: new GrpcCalls({ ...calling, upstream: new GrpcUpstream(grpc) }),
    a2a: new A2aCalls({ ...calling, peers }),
    llm: new LlmCalls(calling),
    metadata: new ResourceMetadata(bundles, parts.trustDomain),
    own: new OwnCalls(approvals, sessions, parts.spiffeId),
  })
  return {
    pipeline,
    requests,
    get openStreams() {
      return streams.size
    },
    recheck: () => {
      streams.recheck()
      uploads.recheck()
      mcp.recheck()
    },
    close: () => {
      mcp.close()
      streams.close()
      uploads.close()
    },
  }
}
