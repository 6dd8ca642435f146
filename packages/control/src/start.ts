import { mkdirSync } from 'node:fs'
import type { RequestListener } from 'node:http'
import { join } from 'node:path'
import { errorCode, renderError, SallyportError, systemClock } from '@sallyport/base'
import type { Clock } from '@sallyport/base'
import type { Declaration } from '@sallyport/network'
import type { Barrier, BarrierStatus, TokenKeys } from '@sallyport/seal'
import { parseSpiffeId } from '@sallyport/spiffe'
import { createForeigners, federationFolder } from '@sallyport/transport'
import { declarationDigest } from '@sallyport/wire'
import { Access } from './access/access.ts'
import { auditShard } from './access/audit.ts'
import { Searches } from './access/search.ts'
import { createAttestedEnrolment } from './attest/enrolment.ts'
import { createActs } from './domain/acts.ts'
import type { Acts } from './domain/acts.ts'
import { followRoots } from './authority/follow.ts'
import { mountAuthority } from './authority/mount.ts'
import { createRoots } from './authority/roots.ts'
import { createAlarms } from './domain/alarms.ts'
import { createApprovals } from './domain/asking.ts'
import type { ControlContext } from './domain/context.ts'
import { createJwtSvids } from './domain/jwt-svids.ts'
import { createLimits } from './domain/counting.ts'
import { createQuarantines } from './domain/cutting.ts'
import { createBreakGlass } from './domain/emergencies.ts'
import { createBundles } from './domain/declarations.ts'
import { createMandates } from './domain/delegating.ts'
import { createEvents } from './domain/event-bus.ts'
import { createCheckpoints } from './domain/checkpoints.ts'
import { createDecisions } from './domain/feed.ts'
import { createInventory } from './domain/inventory.ts'
import { createIdentities } from './domain/identities.ts'
import { createIncidents } from './domain/incident-log.ts'
import { createOperators, credentialsIn } from './domain/people.ts'
import { createPublisher, REVISION_CHANNEL } from './domain/publisher.ts'
import { createRenewalPace } from './domain/renewal-pace.ts'
import { createRollback } from './domain/rollback.ts'
import { createRecoveries } from './domain/recoveries.ts'
import { createResponders } from './domain/responders.ts'
import { createAgents } from './domain/roster.ts'
import { isControl } from './domain/text.ts'
import { createVouching } from './domain/secrets.ts'
import { createSessions } from './domain/signing-in.ts'
import { createWatch } from './domain/watch.ts'
import { ownIdentity } from './identity.ts'
import { boundedServer, closed } from './listen.ts'
import { createOauth } from './oauth/mount.ts'
import { createOperatorApi, listenPrivately } from './operator/index.ts'
import { createCustody } from './secrets/custody.ts'
import { attestRoutes } from './plane/attest.ts'
import { authzenRoutes } from './plane/authzen.ts'
import { custodyRoutes } from './plane/custody.ts'
import { mandateRoutes } from './plane/mandates.ts'
import { bundleBeside, bundleRoutes, createOwnBundle } from './federation/own.ts'
import { createHub } from './plane/hub.ts'
import { responderRoutes } from './plane/responders.ts'
import { jwtSvidRoutes } from './plane/jwt-svid.ts'
import { planeRoutes } from './plane/routes.ts'
import { createPlane } from './plane/server.ts'
import { planSite } from './site/site.ts'
import type { Site, SiteOptions } from './site/site.ts'
import { startEmbeddedPostgres } from './postgres/embedded.ts'
import { watchStore } from './store/monitor.ts'
import { openStore } from './store/store.ts'
import type { Store } from './store/store.ts'
import { startSweeper } from './sweeper.ts'
import { openTrust, readTrust } from './trust.ts'
import type { Trust, TrustFolder } from './trust.ts'
import { sharedStorage, unsealedBarrier } from './trust/barrier.ts'
import { openTokens } from './trust/keys.ts'
import { waitForShares } from './trust/sealed.ts'
import { upgradeTrust } from './trust/upgrade.ts'

export interface ControlOptions {
  /** Holds `trust/`, made by `initTrust`. */
  readonly dataDir: string
  readonly declaration: Declaration
  /** Where the console is served; at the origin that `initTrust` fixed. */
  readonly console: SiteOptions & { readonly staticDir?: string }
  readonly plane: { readonly host: string; readonly port: number }
  /** `postgres://…`; without it the embedded server runs on `dataDir/pg`. */
  readonly databaseUrl?: string
  /** PIN of the PKCS#11 token, where no file has it. */
  readonly pkcs11Pin?: string
  /** Told that the control plane is sealed, and waits for people's shares on its admin socket. */
  readonly onSealed?: (status: BarrierStatus) => void
  /** Gives up waiting for shares. */
  readonly signal?: AbortSignal
  readonly clock?: Clock
  /** Told of failures that nobody waits for (default: standard error). */
  readonly onError?: (error: unknown) => void
}

export interface Control {
  /** `http://localhost:PORT`, or the `https` origin that `initTrust` fixed. */
  readonly consoleUrl: string
  /** Address and port that the console listens on. */
  readonly consoleAddress: string
  readonly planeAddress: { readonly host: string; readonly port: number }
  /** Path of the Unix socket for the local administrator. */
  readonly adminSocket: string
  /** One-use link for the first operator, until there is one. */
  readonly bootstrapLink?: string
  /** What the operator API stands on, for tests and for embedding. */
  readonly context: ControlContext
  close(): Promise<void>
}

/**
 * Runs the control plane. Never makes a trust root.
 *
 * @throws SallyportError `SP_TRUST_*`, `SP_DB_*`, `SP_STORE_*`, `SP_DECLARATION_UNSIGNED`, `SP_LISTEN_FAILED`, `SP_API_SOCKET`, `SP_CONSOLE_*`,
 *   `SP_CONFIG_CONSOLE_ORIGIN`
 */
export async function startControl(options: ControlOptions): Promise<Control> {
  const opened = new AsyncDisposableStack()
  try {
    return await start(options, opened)
  } catch (error) {
    await opened.disposeAsync()
    throw error
  }
}

async function start(options: ControlOptions, opened: AsyncDisposableStack): Promise<Control> {
  const clock = options.clock ?? systemClock
  const onError =
    options.onError ?? ((error: unknown) => void process.stderr.write(`${renderError(error)}\n`))
  const unheard = clock.onJump?.(({ by }) => onError(clockJumped(by)))
  opened.defer(() => unheard?.())
  await upgradeTrust(options.dataDir)
  const folder = readTrust(options.dataDir)
  const { trustDomain } = folder.pins
  const { origin } = folder.relyingParty
  const site = await planSite({ ...options.console, origin, clock, onError })
  opened.defer(() => site.stop())

  let url = options.databaseUrl
  if (url === undefined) {
    const postgres = await startEmbeddedPostgres({ dir: join(options.dataDir, 'pg') })
    opened.defer(() => postgres.stop())
    url = postgres.url
  }
  const store = await openStore(url)
  opened.defer(() => store.close())
  const adminSocket = join(options.dataDir, 'run', 'admin.sock')
  mkdirSync(join(options.dataDir, 'run'), { recursive: true, mode: 0o700 })
  const { barrier, trust } = await unsealTrust(options, folder, {
    ...{ store, site, adminSocket, opened, onError },
  })

  const events = createEvents(clock)
  const publisher = await createPublisher({ store, trust, clock, declaration: options.declaration })
  let news = (): void => undefined
  const monitor = watchStore(store, REVISION_CHANNEL, async () => {
    await publisher.refresh()
    news()
  })
  opened.defer(() => monitor.stop())
  const hub = createHub({ publisher, clock, alive: () => monitor.alive() })
  opened.defer(() => hub.close())
  publisher.onChange(({ bundle }) => events.publish('revision', bundle.revision))

  const operatorSet = () => publisher.current().bundle.operators?.set
  // A crash between the first operator's enrolment and the deletion must not leave the key behind.
  if (operatorSet()) trust.forgetGenesisKey()
  const record: Acts['record'] = (...act) => acts.record(...act)
  const incidents = createIncidents({ store, clock, events, record })
  const quarantine = createQuarantines({
    store,
    clock,
    trustDomain,
    publisher,
    incidents,
    events,
    operatorSet,
    applied: (revision, since) => hub.applied(revision, since),
  })
  publisher.onChange(({ bundle }) => {
    for (const { subject } of bundle.quarantined) hub.drop(subject)
  })
  const watch = createWatch({ store, clock, publisher, quarantine, incidents, events, onError })
  const roots = createRoots({ store, clock, trust, publisher, operatorSet, record, onError })
  const mounted = await mountAuthority({
    ...{ dataDir: options.dataDir, trust, root: await roots.current(), clock, onError },
  })
  opened.defer(() => mounted.stop())
  const issuer = mounted.authority
  const identities = createIdentities({
    store,
    clock,
    trust,
    issuer,
    publisher,
    quarantine,
    events,
    onEnrolled: (spiffeId) => watch.welcome(spiffeId),
  })
  const approvals = createApprovals({
    store,
    clock,
    publisher,
    incidents,
    events,
    operatorSet,
    onStatus: (approval) => hub.pushApproval(approval),
  })
  const decisions = createDecisions({
    store,
    clock,
    events,
    incidents,
    onItems(gateway, items, seq) {
      if (!isControl(gateway)) hub.noteItems(gateway, items)
      watch.observe(items, seq)
    },
  })
  const limits = createLimits({ store, clock, publisher })
  const mandates = createMandates({
    ...{ store, clock, trust, publisher, quarantine, operatorSet },
    applied: (revision, since) => hub.applied(revision, since),
  })
  const rollback = createRollback({ store, clock, trust, publisher, events, onError })
  const bundles = createBundles({ store, clock, publisher, events, operatorSet })
  const audit = auditShard({
    dir: join(options.dataDir, 'control'),
    ...{ trustDomain, clock, decisions, signer: trust.log },
  })
  opened.defer(() => audit.close())
  const acts = createActs(audit.get)
  let consoleUrl = site.url
  const operators = createOperators({
    store,
    clock,
    publisher,
    trust,
    events,
    barrier,
    consoleUrl: () => consoleUrl,
  })
  const alarms = createAlarms({ store, clock, events })
  const network = () => publisher.index().network
  const breakGlass = createBreakGlass({
    ...{ store, clock, trustDomain, network, alarms, incidents, acts, operatorSet, onError },
  })
  const sessions = createSessions({
    secrets: createVouching(trust),
    elevation: (session, operator) => breakGlass.of(session, operator),
    ...{ store, clock, alarms, events, acts, onError },
    network,
    credentialsOf: (operator) => credentialsIn(operatorSet(), operator),
  })
  news = () => sessions.refresh()
  const recoveries = createRecoveries({ store, clock, network, alarms, acts })
  const responders = createResponders({ clock, network, quarantine, acts, onError })
  await watch.start()
  opened.defer(() => watch.stop().catch(onError))
  const stopSweeping = startSweeper({ store, clock, approvals, limits, mandates, onError })
  opened.defer(stopSweeping)

  const identity = ownIdentity({
    issuer,
    trust,
    clock,
    onError,
    ttlSeconds: () => publisher.index().network.settings.svidTtlSeconds,
  })
  opened.defer(() => identity.stop())
  opened.defer(await followRoots({ roots, trust, publisher, issuer, identity, onError }))
  const checkpoints = createCheckpoints({ store, clock, incidents })
  const custody = createCustody({
    ...{ store, clock, trust, publisher, quarantine, events, onError },
    audit: audit.get,
    barrier: () => barrier,
    authority: () => issuer.view(),
  })
  opened.defer(() => custody.stop())
  const access = new Access({
    store,
    clock,
    publisher,
    quarantine,
    caughtUp: (gateways) => hub.caughtUp(gateways),
    vouch: () => hub.vouch(),
    audit: audit.get,
  })
  const searches = new Searches({ access, publisher, store, clock })
  const oauth = createOauth({
    ...{ store, clock, trust, publisher, quarantine, operatorSet, onError },
    ...{ events, acts, alarms, sessions, barrier },
  })
  const jwtSvids = createJwtSvids({ store, clock, trust, audit: audit.get })
  const ownBundle = createOwnBundle({ trust, clock, jwt: () => jwtSvids.bundle() })
  const foreigners = createForeigners({
    store: federationFolder(join(options.dataDir, 'control', 'federation')),
    ...{ clock, onError },
  })
  opened.defer(() => foreigners.stop())
  const declareForeigners = (): void =>
    foreigners.declare(publisher.index().network.federation ?? [])
  publisher.onChange(declareForeigners)
  declareForeigners()
  const plane = createPlane({
    identity: identity.holder,
    clock,
    trustDomain,
    publisher,
    quarantine,
    onError,
    routes: [
      ...planeRoutes({
        ...{ identities, approvals, decisions, checkpoints },
        ...{ limits, quarantine, publisher, rollback, hub },
        renewing: createRenewalPace(clock, () => network().settings.svidTtlSeconds),
      }),
      ...authzenRoutes({ access, searches, publisher }),
      ...oauth.routes,
      ...custodyRoutes(custody),
      ...attestRoutes(
        createAttestedEnrolment({ dataDir: options.dataDir, clock, trust, publisher, identities }),
      ),
      ...jwtSvidRoutes(jwtSvids, () => foreigners.bundles()),
      ...bundleRoutes(ownBundle),
      ...responderRoutes(responders),
      ...mandateRoutes(mandates),
    ],
    onGateway: (gateway) => hub.note(gateway),
  })
  opened.defer(() => plane.close())
  const planeAddress = await plane.listen(options.plane)

  const context: ControlContext = {
    clock,
    dataDir: options.dataDir,
    barrier,
    keys: trust.keys,
    trustDomain,
    approvals,
    authority: issuer,
    roots,
    foreigners,
    bundles,
    custody,
    decisions,
    events,
    incidents,
    mandates,
    operators,
    breakGlass,
    recoveries,
    sessions,
    alarms,
    get consoleUrl() {
      return consoleUrl
    },
    ...(options.console.staticDir === undefined ? {} : { staticDir: options.console.staticDir }),
    agents: createAgents({ store, clock, publisher, quarantine }),
    identities,
    inventory: createInventory({ store, publisher }),
    quarantine,
    consents: oauth.consents,
    backchannel: oauth.backchannel,
    health: {
      async read() {
        const shards = monitor.alive() ? await decisions.shards().catch(() => []) : []
        const certificate = site.certificate()
        const none: ReadonlyMap<string, string> = new Map()
        const later = monitor.alive() ? await rollback.later().catch(() => undefined) : undefined
        const held = monitor.alive() ? await checkpoints.newest().catch(() => none) : none
        return {
          control: 'ok',
          console: consoleUrl,
          ...(certificate === undefined ? {} : { certificate }),
          database: monitor.alive() ? 'ok' : 'unreachable',
          ...(later === undefined ? {} : { restored: later }),
          gateways: hub.health().map((entry) => ({ ...entry, id: shortName(entry.id) })),
          audit: shards.map((entry) => ({ ...entry, checkpoint: held.get(entry.shard) ?? null })),
        }
      },
    },
  }
  // The port is known only after listening, and the API has to know its own origin.
  let handle: RequestListener = (_request, response) => response.writeHead(503).end()
  const web = await site.listen((...call) => handle(...call))
  opened.defer(() => web.close())
  consoleUrl = web.url
  const api = createOperatorApi(context, { onError })
  opened.defer(() => api.close())
  handle = bundleBeside(ownBundle, oauth.beside(api.consoleHandler, new URL(consoleUrl).origin))
  const admin = boundedServer(api.adminHandler)
  await listenPrivately(admin, adminSocket)
  opened.defer(() => closed(admin))

  await offer(options.declaration, context, onError)
  const bootstrapLink = await firstLink(context)
  return {
    consoleUrl,
    consoleAddress: web.at,
    planeAddress,
    adminSocket,
    ...(bootstrapLink === undefined ? {} : { bootstrapLink }),
    context,
    close: () => opened.disposeAsync(),
  }
}

const BARRIER_REFRESH_MS = 60_000

/** Opens the keys, by the token or by people where the network was made so. Until then nothing else of the control plane exists. */
async function unsealTrust(
  { pkcs11Pin, onSealed, signal }: ControlOptions,
  folder: TrustFolder,
  deps: {
    readonly store: Store
    readonly site: Site
    readonly adminSocket: string
    readonly opened: AsyncDisposableStack
    readonly onError: (error: unknown) => void
  },
): Promise<{ barrier: Barrier; trust: Trust }> {
  const { keys, dir } = folder
  const { store, site, adminSocket, opened, onError } = deps
  let tokens: TokenKeys | undefined
  const openedTokens = async (): Promise<TokenKeys | undefined> => {
    if (!keys.token) return undefined
    tokens ??= await openTokens(keys.token, pkcs11Pin)
    return tokens
  }
  opened.defer(() => tokens?.close())
  const barrier = await unsealedBarrier({
    ...{ dir, settings: keys, onError, tokens: openedTokens },
    storage: sharedStorage(dir, store, onError),
    byPeople: (sealed) =>
      waitForShares(sealed, {
        ...{ site, adminSocket, onError },
        ...(signal ? { signal } : {}),
        onSealed: () => onSealed?.(sealed.status()),
      }),
  })
  opened.defer(() => barrier.seal())
  // A data key that another control plane rotated to is used here before long too.
  const timer = setInterval(() => void barrier.refresh().catch(onError), BARRIER_REFRESH_MS)
  opened.defer(() => clearInterval(timer.unref()))
  const needed = keys.kind === 'pkcs11' ? await openedTokens() : tokens
  return { barrier, trust: await openTrust(folder, barrier, needed) }
}

/** A `network.yaml` that differs from what is in force waits for signatures; it changes nothing by itself. */
async function offer(
  declaration: Declaration,
  { bundles }: ControlContext,
  onError: (error: unknown) => void,
): Promise<void> {
  if (declarationDigest(declaration) === bundles.digest()) return
  try {
    await bundles.propose({ declaration, by: 'file' })
  } catch (error) {
    if (errorCode(error) === 'SP_STORE_UNAVAILABLE') throw error
    onError(error)
  }
}

async function firstLink({ operators }: ControlContext): Promise<string | undefined> {
  if (operators.set()) return undefined
  const admin = operators.list().find(({ roles }) => roles.includes('admin'))
  if (!admin) return undefined
  const { url } = await operators.createLink({ operator: admin.name, by: 'control' })
  return url
}

/** The id of a gateway without the domain. */
function shortName(spiffeId: string): string {
  return parseSpiffeId(spiffeId).segments.at(-1) ?? spiffeId
}

function clockJumped(by: number): SallyportError {
  const seconds = Math.round(by / 1000)
  return new SallyportError(
    'SP_CLOCK_JUMPED',
    `the clock of this machine was set by ${seconds} s while it ran`,
    {
      fix:
        by > 0
          ? 'if it is wrong now, set it right: what expired meanwhile is valid again then'
          : 'time goes on here from where it was; once the clock is right, restart this process',
    },
  )
}
