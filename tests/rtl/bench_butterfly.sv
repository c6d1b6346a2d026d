// All four networks of one size side by side, on the same words. Stimulus, from bit 0: valid, mask, payload.
// Response, from bit 0: ready, busy; per network (gather and scatter, combinational, then pipelined) valid, result.
module bench #(
    parameter int LANES = 16,
    parameter int WIDTH = 8,
    localparam int IN_WORDS = (1 + LANES + LANES * WIDTH + 31) / 32,
    localparam int OUT_WORDS = (2 + 4 * (1 + LANES * WIDTH) + 31) / 32
) (
    input  wire clock,
    input  wire reset,
    input  wire [32*IN_WORDS-1:0] stimulus,
    output wire [32*OUT_WORDS-1:0] response
);
    localparam int ONE = 1 + LANES * WIDTH;
    wire [4*ONE-1:0] found;
    for (genvar n = 0; n < 4; n++) begin : g_network
        butterfly #(.LANES(LANES), .WIDTH(WIDTH), .GATHER(n % 2 == 0), .PIPELINED(n / 2 == 1)) network (
            .clock(clock), .reset(reset), .enable(1'b1),
            .valid_in(stimulus[0]), .mask(stimulus[1 +: LANES]), .payload(stimulus[1+LANES +: LANES*WIDTH]),
            .valid_out(found[n*ONE]), .result(found[n*ONE+1 +: LANES*WIDTH])
        );
    end
    reg [2:0] underway;
    always_ff @(posedge clock) underway <= reset ? 3'b000 : {underway[1:0], stimulus[0]};
    assign response = (32*OUT_WORDS)'({found, |underway, 1'b1});
endmodule
