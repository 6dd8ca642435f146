/** Where to connect to or listen at: TCP, or a Unix socket. */
export type Target = { readonly host: string; readonly port: number } | { readonly path: string }
