export { startGateway } from './gateway.ts'
export type { Gateway, GatewayOptions, GatewayStats } from './options.ts'
export type { GatewaySettings } from './settings.ts'
