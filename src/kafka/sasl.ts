/** Who a connection authenticated as. */
export interface Authentication {
  /** null until the exchange succeeded. */
  readonly user: string | null;
}
